// SPDX-License-Identifier: Apache-2.0

// Package redistest runs a real Redis server for a test, on a socket in its folder.
package redistest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/busbar/busbar/kit/store/redis"
)

// Server is a Redis server, Debian's redis-server, which keeps nothing on disk.
type Server struct {
	socket string
	cmd    *exec.Cmd
}

// Start starts a server, which ends with the test. The test is skipped where there is none, unless REQUIRE_REDIS is set.
func Start(t testing.TB) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("REQUIRE_REDIS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	folder, err := os.MkdirTemp("", "redis") //nolint:usetesting // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{socket: filepath.Join(folder, "s")}
	t.Cleanup(func() {
		s.stop()
		_ = os.RemoveAll(folder)
	})
	s.Start(t)
	return s
}

// URL is the address of the server, for redis.Open.
func (s *Server) URL() string { return "unix://" + s.socket }

// Start starts the server again after Kill, empty.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no",
		"--dir", filepath.Dir(s.socket), "--loglevel", "warning")
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client, err := redis.Open(s.URL(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	Eventually(t, "redis answers", func() bool { return client.Ping(t.Context()) == nil })
}

// Kill ends the server as a crash does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.stop()
}

// Pause stops the server, which keeps its connections; Resume lets it go on.
func (s *Server) Pause(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) stop() {
	if s.cmd != nil && s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// Eventually waits for a condition, for as long as a machine under load may need.
func Eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain: " + what)
		}
	}
}
