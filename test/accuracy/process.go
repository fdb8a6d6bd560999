// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// child is a program that was started. Its output is kept in a file.
type child struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it ended
	stop func()
}

// launch starts a program that ends by SIGTERM with its context, and with it all that it started.
func launch(ctx context.Context, log string, argv ...string) (*child, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c := &child{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), log: log, done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not every program ends its workers
	c.cmd.Cancel = func() error { return syscall.Kill(-c.cmd.Process.Pid, syscall.SIGTERM) }
	c.cmd.WaitDelay = 10 * time.Second
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait()
	}()
	c.stop = sync.OnceFunc(func() {
		_ = c.cmd.Cancel()
		select {
		case <-c.done:
		case <-time.After(10 * time.Second):
			_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
			<-c.done
		}
	})
	return c, nil
}

// ended returns an error with what the program printed if it has ended.
func (c *child) ended() error {
	select {
	case <-c.done:
		out, _ := os.ReadFile(c.log)
		return fmt.Errorf("%s ended:\n%s", c.cmd.Path, out)
	default:
		return nil
	}
}

// listening waits until something accepts at a port of loopback, or c has ended.
func (c *child) listening(ctx context.Context, port int) error {
	return poll(ctx, fmt.Sprintf("%s to listen", c.cmd.Path), func() (bool, error) {
		if err := c.ended(); err != nil {
			return false, err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil, nil
	})
}

// free returns n ports of loopback that were free a moment ago.
func free(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()                                     // all at the end, so that no two are the same
		ports = append(ports, l.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // A TCP listener.
	}
	return ports, nil
}

// patience is how long anything may take to come: on an emulated machine that is long.
const patience = 15 * time.Minute

// poll waits until ok says so.
func poll(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
