package engine

import (
	"testing"

	"github.com/karapace/karapace/storage"
)

func TestUserBus(t *testing.T) {
	limited := &storage.Record{MemoryLimitMB: 1}
	for address, want := range map[string]string{
		"unix:path=/run/user/1000/bus,guid=0123":            "/run/user/1000/bus",
		"unix:guid=01,path=/a%20b":                          "/a b",
		"tcp:host=localhost,port=1;unix:abstract=/tmp/dbus": "@/tmp/dbus",
		"unix:path=relative":                                "",
		"unix:path=/%zz":                                    "",
		"unix:path=/a%00b":                                  "",
		"autolaunch:":                                       "",
		"":                                                  "",
	} {
		e := &Engine{User: User{UID: 4077_000}, Getenv: func(name string) string {
			return map[string]string{"DBUS_SESSION_BUS_ADDRESS": address, "XDG_RUNTIME_DIR": t.TempDir()}[name]
		}}
		if got := e.userBus(limited); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
		if got := e.userBus(&storage.Record{}); got != "" {
			t.Errorf("without limits: %q", got)
		}
		if e.User.UID = 0; e.userBus(limited) != "" {
			t.Error("root asks a bus")
		}
	}
}
