package nsproc

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Loopback brings the interface lo up, the only one in a new network namespace (netdevice(7)).
func Loopback(p *rawproc.Program) {
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = unix.IFF_UP | unix.IFF_RUNNING
	sock := p.Reg()
	p.Call("open socket", unix.SYS_SOCKET, rawproc.Int(unix.AF_INET), rawproc.Int(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), rawproc.Int(0)).Into(sock)
	p.Call("bring loopback up", unix.SYS_IOCTL, rawproc.R(sock), rawproc.Int(unix.SIOCSIFFLAGS), rawproc.Value(&req))
}

// LoopbackOf does the same in the network namespace of a container's first process.
func LoopbackOf(pidfd int, userNS bool) error {
	flags := unix.CLONE_NEWNET
	if userNS {
		flags |= unix.CLONE_NEWUSER
	}
	p := new(rawproc.Program)
	p.Call("join network namespace", unix.SYS_SETNS, rawproc.Int(pidfd), rawproc.Int(flags))
	Loopback(p)
	pid, err := p.Run(0)
	if err != nil {
		return err
	}
	if _, err := rawproc.Wait(pid); err != nil {
		return fmt.Errorf("wait for process %d: %w", pid, err)
	}
	return nil
}
