// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	room     = 16 << 20         // bytes that must be free before the server starts anew
	lookRoom = time.Second      // between two looks for room
	calm     = 10 * time.Second // between two starts, if the disk goes on filling up
)

// errRestart is what connections get while the server starts anew.
var errRestart = errors.New("NATS server starts anew")

// tellsOfFullDisk recognises the complaint of a server that could not write. From then on it refuses what the stream is
// given, or all there is, until it is restarted, and it has no other sign of that.
func tellsOfFullDisk(text string) bool {
	return strings.Contains(text, syscall.ENOSPC.Error()) || strings.Contains(text, syscall.EDQUOT.Error())
}

// keep starts the server anew when the disk was full and has room again, until Shutdown. Publishers have kept what was not
// stored, and everyone reconnects.
func (s *Server) keep() {
	for {
		select {
		case <-s.log.full:
		case <-s.ending:
			return
		}
		s.log.log.Error("no room for the data of the bus, nothing is stored until there is", "directory", s.options.StoreDir)
		for hasRoom := false; !hasRoom; hasRoom = s.hasRoom() {
			if !s.sleep(lookRoom) {
				return
			}
		}
		s.restart()
		if !s.sleep(calm) {
			return
		}
	}
}

// restart stops the server and starts it again. If that fails it is tried again after a while.
func (s *Server) restart() {
	s.end()
	ns, err := s.serve()
	if err != nil {
		s.log.log.Error("NATS server does not start again", "error", err)
		s.log.tellFull()
		return
	}
	s.mu.Lock()
	s.nats = ns
	s.mu.Unlock()
	s.log.log.Info("there is room again, the bus works")
}

// end stops the server of NATS, if it runs.
func (s *Server) end() {
	s.mu.Lock()
	ns := s.nats
	s.nats = nil
	s.mu.Unlock()
	if ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
}

// sleep waits, and is false if the server is to end.
func (s *Server) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.ending:
		return false
	}
}

// hasRoom tries to reserve room in the data directory. Where that cannot be tried, the answer is yes.
func (s *Server) hasRoom() bool {
	path := filepath.Join(s.options.StoreDir, "busbar.room")
	f, err := os.Create(path) //nolint:gosec // the operator's directory
	if err != nil {
		return false
	}
	err = syscall.Fallocate(int(f.Fd()), 0, 0, room)
	_ = f.Close()
	_ = os.Remove(path)
	return err == nil || errors.Is(err, syscall.EOPNOTSUPP)
}
