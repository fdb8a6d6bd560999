// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is a program that the benchmark started.
type child struct {
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{} // closed when it ended
}

func launch(ctx context.Context, name string, args ...string) (*child, error) {
	c := &child{cmd: exec.CommandContext(ctx, name, args...), done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait()
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	<-c.done
}

// ended returns an error with what the program printed if it has ended.
func (c *child) ended() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s ended:\n%s", c.cmd.Path, c.log.String())
	default:
		return nil
	}
}

// free returns n loopback addresses whose ports were free a moment ago.
func free(n int) ([]string, error) {
	var at []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // All at the end, so that no two are the same.
		at = append(at, l.Addr().String())
	}
	return at, nil
}

// cpuTime returns the CPU time of all threads of a process, user and system, in nanoseconds as the scheduler counts it
// (/proc/PID/task/*/schedstat, first field). Threads that ended are not in it; a Go server keeps its threads.
func cpuTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("read the CPU time of process %d: no threads", pid)
	}
	var sum time.Duration
	for _, f := range files {
		b, err := os.ReadFile(f) //nolint:gosec // A path below /proc.
		if err != nil {
			continue // The thread ended meanwhile.
		}
		n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// residentKiB returns the resident memory of a process.
func residentKiB(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("no VmRSS in the status of process %d", pid)
}

// listening waits until something accepts at each address.
func listening(ctx context.Context, addresses ...string) error {
	for _, a := range addresses {
		err := poll(ctx, a, func() (bool, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", a)
			if err == nil {
				_ = c.Close()
			}
			return err == nil, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ready waits until a program's admin port says that it is ready.
func ready(ctx context.Context, c *child, admin string) error {
	return poll(ctx, admin, func() (bool, error) {
		if err := c.ended(); err != nil {
			return false, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
		if err != nil {
			return false, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // It does not listen yet.
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK, nil
	})
}

// poll waits until ok says so, for a minute at most.
func poll(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}
