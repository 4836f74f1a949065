// Command box is what containers run in the tests of the backends: a static program that does the things whose effect
// is to be seen, one per name.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fatal("box NAME [ARGUMENT...]")
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "exit":
		os.Exit(number(args[0]))
	case "die":
		defaultAction(number(args[0]))
		check(unix.Kill(os.Getpid(), unix.Signal(number(args[0]))))
		time.Sleep(time.Minute)
	case "cat":
		_, err := io.CopyBuffer(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{os.Stdin}, make([]byte, 1<<20))
		check(err)
	case "echo":
		fmt.Println(strings.Join(args, " "))
	case "both":
		fmt.Fprint(os.Stdout, "to stdout")
		fmt.Fprint(os.Stderr, "to stderr")
	case "env":
		for _, v := range os.Environ() {
			fmt.Println(v)
		}
	case "self":
		self()
	case "fds":
		fds()
	case "ps":
		ps()
	case "read":
		b, err := os.ReadFile(args[0])
		check(err)
		os.Stdout.Write(b)
	case "write":
		check(os.WriteFile(args[0], []byte(args[1]), 0o644))
	case "list":
		list(args[0])
	case "stat":
		stat(args)
	case "tell":
		fmt.Println(args[0])
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "leave":
		leave(args)
	case "signals":
		signals()
	case "stubborn":
		signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "tty":
		terminal()
	case "syscall":
		_, _, errno := unix.Syscall6(uintptr(number(args[0])), 0, 0, 0, 0, 0, 0)
		fmt.Println(int(errno))
	case "int80":
		fmt.Println(int80(uintptr(number(args[0]))))
	case "eat":
		eat(args[0])
	case "loosen":
		loosen(args[0])
	case "loosened":
		loosened()
		eat(args[0])
	case "interfaces":
		ifs, err := net.Interfaces()
		check(err)
		for _, i := range ifs {
			fmt.Println(i.Name, i.Flags&net.FlagUp != 0)
		}
	case "loopback":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		c, err := net.Dial("tcp", l.Addr().String())
		check(err)
		check(c.Close())
	case "tiocsti":
		key := byte('x')
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&key)))
		fmt.Println(errno == 0)
	default:
		fatal("box: no " + os.Args[1])
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fatal(err.Error())
	}
}

func fatal(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(99)
}

// eat holds so many MiB of memory until its input ends.
func eat(mib string) {
	size := number(mib) << 20
	memory := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		memory[i] = 1
	}
	fmt.Println("ate", mib)
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(memory)
}

// defaultAction undoes what Go does with a signal.
func defaultAction(sig int) {
	var action [4]uintptr
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
}

// self prints what the process is, a fact a line.
func self() {
	cwd, err := os.Getwd()
	check(err)
	groups, err := os.Getgroups()
	check(err)
	sort.Ints(groups)
	mask := unix.Umask(0)
	var files unix.Rlimit
	check(unix.Getrlimit(unix.RLIMIT_NOFILE, &files))
	host, err := os.Hostname()
	check(err)
	sid, err := unix.Getsid(0)
	check(err)
	oom, _ := os.ReadFile("/proc/self/oom_score_adj")
	fmt.Printf("uid %d\ngid %d\ngroups %v\ncwd %s\numask %03o\nnofile %d %d\nhost %s\nsession %v\noom %s\n",
		os.Getuid(), os.Getgid(), groups, cwd, mask, files.Cur, files.Max, host, sid == os.Getpid(), strings.TrimSpace(string(oom)))
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	for line := range strings.Lines(string(status)) {
		for _, key := range []string{"Cap", "NoNewPrivs", "Seccomp:", "SigBlk", "SigIgn"} {
			if strings.HasPrefix(line, key) {
				fmt.Print(line)
			}
		}
	}
}

// fds prints every open descriptor but the one it reads them with and those of Go itself.
func fds() {
	entries, err := os.ReadDir("/proc/self/fd")
	check(err)
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.Contains(to, "anon_inode") && !strings.HasSuffix(to, "/fd") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			fmt.Println(e.Name(), to)
		}
	}
}

func ps() {
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(err)
	for _, d := range dirs {
		b, _ := os.ReadFile(d)
		fmt.Printf("%s %s\n", filepath.Base(filepath.Dir(d)), strings.ReplaceAll(strings.TrimRight(string(b), "\x00"), "\x00", " "))
	}
}

func list(dir string) {
	entries, err := os.ReadDir(dir)
	check(err)
	for _, e := range entries {
		fmt.Println(e.Name())
	}
}

func stat(paths []string) {
	for _, p := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			fmt.Println(p, err)
			continue
		}
		fmt.Printf("%s %o %d:%d %d:%d\n", p, st.Mode, st.Uid, st.Gid, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
}

// leave starts itself again in a session of its own, which outlives this process.
func leave(args []string) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check(cmd.Start())
	fmt.Println(cmd.Process.Pid)
}

// signals prints each signal it gets, and ends with TERM.
func signals() {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGQUIT, unix.SIGWINCH, unix.SIGCONT)
	fmt.Println("ready")
	for sig := range ch {
		fmt.Println(sig)
		if sig == unix.SIGTERM {
			os.Exit(0)
		}
	}
}

// terminal tells about its terminal, then echoes lines and changes of size until "quit".
func terminal() {
	name, err := os.Readlink("/proc/self/fd/0")
	check(err)
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	check(err)
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	check(err)
	var st unix.Stat_t
	check(unix.Fstat(0, &st))
	fmt.Printf("name %s\nforeground %v\nowner %d\n", name, group == os.Getpid(), st.Uid)
	size := func() {
		ws, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		check(err)
		fmt.Printf("size %d %d\n", ws.Row, ws.Col)
	}
	size()
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, unix.SIGWINCH, unix.SIGINT)
	go func() {
		for sig := range ch {
			if sig == unix.SIGINT {
				fmt.Println("interrupted")
				continue
			}
			size()
		}
	}()
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "quit" {
			os.Exit(6)
		}
		fmt.Println("line", lines.Text())
	}
	fmt.Println("end of file")
}
