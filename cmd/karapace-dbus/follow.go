package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// follow tells of what becomes of environments, whoever did it, until the service ends.
func (s *service) follow() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.conn.Context().Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		s.look()
		timer.Reset(engine.Pause(time.Since(began)))
	}
}

// look compares the store with what was seen there before, and tells what is different.
func (s *service) look() {
	s.looking.Lock()
	defer s.looking.Unlock()
	e, err := s.engine("dbus", engine.Silent{})
	if err != nil {
		return // its own call will say so to somebody
	}
	all, _ := e.List()
	added, removed, changed := engine.Differences(s.seen, all)
	s.seen = all
	for _, r := range removed {
		if _, err := os.Lstat(filepath.Join(s.root, "envs", string(r.EnvID))); err == nil {
			s.seen = append(s.seen, r) // it cannot be read now, which is not to have gone
			continue
		}
		s.emit(managerPath, managerName, "EnvironmentRemoved", string(r.EnvID), r.Name)
	}
	for _, a := range added {
		s.emit(managerPath, managerName, "EnvironmentAdded", string(a.EnvID), dictionary(a))
	}
	for _, c := range changed {
		s.emit(managerPath, managerName, "EnvironmentChanged", string(c.EnvID), dictionary(c))
	}
}
