package userscope

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// answer is an encoded method return, or an error with a name, to a serial.
func answer(kind byte, serial uint32, errorName, text string) []byte {
	var body, e encoder
	signature := ""
	if text != "" {
		signature = "s"
		body.string(text)
	}
	e.b = append(e.b, 'l', kind, 1, 1)
	e.uint32(uint32(len(body.b)))
	e.uint32(7)
	e.array(8, func() {
		e.align(8)
		e.byte(fieldReplySerial)
		e.signature("u")
		e.uint32(serial)
		if errorName != "" {
			e.align(8)
			e.byte(fieldErrorName)
			e.signature("s")
			e.string(errorName)
		}
		if signature != "" {
			e.align(8)
			e.byte(fieldSignature)
			e.signature("g")
			e.signature(signature)
		}
	})
	e.align(8)
	return append(e.b, body.b...)
}

// fakeBus is a bus on which systemd answers StartTransientUnit by what started says, and moves the process by writing to self.
func fakeBus(t *testing.T, started func(body []byte) []byte) string {
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		want := "\x00AUTH EXTERNAL " + hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid()))) + "\r\n"
		if line, _ := in.ReadString('\n'); line != want {
			t.Errorf("it says %q, want %q", line, want)
		}
		io.WriteString(conn, "OK 0123\r\n")
		if line, _ := in.ReadString('\n'); line != "BEGIN\r\n" {
			t.Errorf("it says %q", line)
		}
		for serial := uint32(1); ; serial++ {
			text := make([]byte, fixedSize)
			if _, err := io.ReadFull(in, text); err != nil {
				return
			}
			_, rest, err := sizes(text)
			if err != nil {
				t.Error(err)
				return
			}
			text = append(text, make([]byte, rest)...)
			if _, err := io.ReadFull(in, text[fixedSize:]); err != nil {
				t.Error(err)
				return
			}
			conn.Write(answer(4, 0, "", "a signal")) // which is nothing to it
			if strings.Contains(string(text), "Hello") {
				conn.Write(answer(methodReply, serial, "", ":1.7"))
				continue
			}
			conn.Write(started(append(text, byte(serial))))
		}
	}()
	return path
}

// A process is in its scope, in a group of its own there, when systemd has moved it, which may take a while.
func TestEnter(t *testing.T) {
	unit := fmt.Sprintf("karapace-box-%d.scope", os.Getpid())
	h := Host{Root: t.TempDir(), Self: filepath.Join(t.TempDir(), "cgroup")}
	if err := os.WriteFile(h.Self, []byte("0::/user.slice/session-3.scope\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	scope := filepath.Join(h.Root, "user.slice", unit)
	h.Bus = fakeBus(t, func(m []byte) []byte {
		for _, want := range []string{unit, "StartTransientUnit", "Delegate", "PIDs", "fail\x00"} {
			if !strings.Contains(string(m), want) {
				t.Errorf("the call has no %q", want)
			}
		}
		go func() {
			time.Sleep(20 * time.Millisecond) // as systemd answers before it is done
			os.MkdirAll(filepath.Join(scope, own), 0o755)
			os.Remove(filepath.Join(scope, own)) // the process makes it
			os.WriteFile(h.Self+".new", []byte("0::/user.slice/"+unit+"\n"), 0o644)
			os.Rename(h.Self+".new", h.Self)
		}()
		return answer(methodReply, uint32(m[len(m)-1]), "", "/org/freedesktop/systemd1/job/1")
	})
	err := h.Enter(context.Background(), "karapace-box")
	if dir := filepath.Join(scope, own); err == nil || !strings.Contains(err.Error(), "enter cgroup "+dir) {
		t.Fatalf("%v: a directory that is no cgroup has no cgroup.procs", err)
	}
	if err := os.WriteFile(filepath.Join(scope, own, "cgroup.procs"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := enter(filepath.Join(scope, own), 4711); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(scope, own, "cgroup.procs")); string(text) != "4711" {
		t.Errorf("it enters by %q, %v", text, err)
	}
}

func TestEnterRefused(t *testing.T) {
	self := filepath.Join(t.TempDir(), "cgroup")
	if err := os.WriteFile(self, []byte("0::/a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	reply := func(f func(serial uint32) []byte) string {
		return fakeBus(t, func(m []byte) []byte { return f(uint32(m[len(m)-1])) })
	}
	for name, c := range map[string]struct{ bus, want string }{
		"no bus":     {"", "no user's bus"},
		"not there":  {filepath.Join(t.TempDir(), "none"), "no such file"},
		"no systemd": {reply(func(n uint32) []byte { return answer(errorReply, n, "org.x.ServiceUnknown", "who?") }), "who? (org.x.ServiceUnknown)"},
		"no message": {reply(func(uint32) []byte { return []byte(strings.Repeat("x", 64)) }), "no message"},
		"too large":  {reply(func(uint32) []byte { return []byte("l\x02\x01\x01\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x00") }), "no message"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Host{Bus: c.bus, Root: "/nowhere", Self: self}.Enter(context.Background(), "karapace-box")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	silent := reply(func(n uint32) []byte { return answer(methodReply, n, "", "/job") })
	if err := (Host{Bus: silent, Root: "/nowhere", Self: self}).Enter(ctx, "karapace-box"); err != context.DeadlineExceeded {
		t.Errorf("not moved: %v", err)
	}
}

// A real bus understands what is said, and a monitor of it reads the call as systemd would.
func TestRealBus(t *testing.T) {
	for _, tool := range []string{"dbus-daemon", "dbus-monitor"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v: hack/setup tests installs it", err)
		}
	}
	path := filepath.Join(t.TempDir(), "bus")
	daemon := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--address=unix:path="+path)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
	monitor := exec.Command("dbus-monitor", "--address", "unix:path="+path)
	out, err := monitor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal("the bus does not start")
		}
	}
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { monitor.Process.Kill(); monitor.Wait() })
	seen := bufio.NewReader(out)
	if _, err := seen.ReadString('\n'); err != nil { // it is listening
		t.Fatal(err)
	}
	h := Host{Bus: path, Root: "/nowhere", Self: "/proc/self/cgroup"}
	// That bus may have a systemd to start, which is none here.
	if err := h.Enter(context.Background(), "karapace-box"); err == nil || !strings.Contains(err.Error(), "StartTransientUnit: ") {
		t.Errorf("error %v", err)
	}
	if _, err := dial(path); err != nil {
		t.Error(err)
	}
	const want = `string "karapace-box-%d.scope" string "fail" array [ ` +
		`struct { string "Description" variant string "Karapace, a session in an environment with limits" } ` +
		`struct { string "Delegate" variant boolean true } ` +
		`struct { string "CollectMode" variant string "inactive-or-failed" } ` +
		`struct { string "PIDs" variant array [ uint32 %d ] } ] array [ ]`
	timer := time.AfterFunc(30*time.Second, func() { monitor.Process.Kill() })
	defer timer.Stop()
	var text strings.Builder
	inCall := false
	for {
		line, err := seen.ReadString('\n')
		if err != nil {
			t.Fatalf("the monitor ends: %v, with %q", err, text.String())
		}
		head := !strings.HasPrefix(line, " ")
		if inCall && head {
			break
		}
		if inCall {
			text.WriteString(line)
		}
		inCall = inCall || head && strings.Contains(line, "member=StartTransientUnit")
	}
	if got, want := strings.Join(strings.Fields(text.String()), " "), fmt.Sprintf(want, os.Getpid(), os.Getpid()); got != want {
		t.Errorf("a monitor reads\n%s\nwant\n%s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(answer(methodReply, 1, "", ":1.7"))
	f.Add(answer(errorReply, 2, "org.x.Error", "no"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decode(b); err == nil && len(m.text) > len(b) {
			t.Errorf("%+v of %d bytes", m, len(b))
		}
	})
}
