// SPDX-License-Identifier: Apache-2.0

// Package child runs programs beside a measurement, and reads what the kernel says of them.
package child

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
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Child is a program that was started.
type Child struct {
	cmd  *exec.Cmd
	log  printed
	done chan struct{} // closed when it ended
}

// Launch starts a program. It is told to end when ctx ends.
func Launch(ctx context.Context, name string, args ...string) (*Child, error) {
	return LaunchWith(ctx, nil, name, args...)
}

// LaunchWith is Launch with more in the environment: "name=value".
func LaunchWith(ctx context.Context, env []string, name string, args ...string) (*Child, error) {
	c := &Child{cmd: exec.CommandContext(ctx, name, args...), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), env...)
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

// PID returns its process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Stop tells it to end and waits until it has.
func (c *Child) Stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	<-c.done
}

// End sends it a signal and waits until it has ended; what has not after half a minute is killed, which is an error.
func (c *Child) End(signal syscall.Signal) error {
	_ = c.cmd.Process.Signal(signal)
	select {
	case <-c.done:
		return nil
	case <-time.After(30 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
		return fmt.Errorf("%s did not end within half a minute of %v:\n%s", c.cmd.Path, signal, c.log.String())
	}
}

// Ended returns an error with what the program printed if it has ended.
func (c *Child) Ended() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s ended:\n%s", c.cmd.Path, c.log.String())
	default:
		return nil
	}
}

// Free returns n loopback addresses whose ports were free a moment ago.
func Free(n int) ([]string, error) {
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

// CPUTime returns the CPU time of a process so far, user and system, ended threads included: its CPU clock (clock_getcpuclockid(3)).
func CPUTime(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED: nanoseconds, not ticks
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &t); err != nil { //nolint:gosec // How the kernel encodes the clock of a process.
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// ResidentKiB returns the resident memory of a process.
func ResidentKiB(pid int) (int, error) { return memoryKiB(pid, "VmRSS:") }

// PeakKiB returns the most that was ever resident.
func PeakKiB(pid int) (int, error) { return memoryKiB(pid, "VmHWM:") }

func memoryKiB(pid int, line string) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, line); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("no %s in the status of process %d", line, pid)
}

// Port returns the port of an address.
func Port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// Listening waits until something accepts at each address.
func Listening(ctx context.Context, addresses ...string) error {
	for _, a := range addresses {
		err := Poll(ctx, a, func() (bool, error) {
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

// Ready waits until a program's admin port says that it is ready.
func Ready(ctx context.Context, c *Child, admin string) error {
	return Poll(ctx, admin, func() (bool, error) {
		if err := c.Ended(); err != nil {
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

// Poll waits until ok says so, for a minute at most.
func Poll(ctx context.Context, what string, ok func() (bool, error)) error {
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

// printed is what a program has printed so far.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// Log returns what the program has printed so far.
func (c *Child) Log() string { return c.log.String() }

// Build compiles programs of this repository into a folder: packages by the name of the file.
func Build(ctx context.Context, dir string, packages map[string]string) error {
	for name, pkg := range packages {
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}
