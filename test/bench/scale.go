// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/busbar/busbar/test/internal/child"
)

const (
	scaleProcesses   = 200
	scaleConnections = 10_000
)

// benchScale measures the probe's memory with many processes and many open connections, each of which has carried an exchange.
func benchScale(ctx context.Context, out io.Writer, dir, bin string) error {
	limit := syscall.Rlimit{Cur: 2 * scaleConnections, Max: 2 * scaleConnections}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("allow %d open files: %w", limit.Cur, err)
	}
	at, err := child.Free(2)
	if err != nil {
		return err
	}
	nats, err := child.Launch(ctx, filepath.Join(bin, "nats-server"), "-a", "127.0.0.1", "-p", child.Port(at[0]), "-js", "-sd", filepath.Join(dir, "scale"))
	if err != nil {
		return err
	}
	defer nats.Stop()
	if err := child.Listening(ctx, at[0]); err != nil {
		return err
	}
	probe, err := child.Launch(ctx, filepath.Join(bin, "busbar-probe"), "--nats-url", "nats://"+at[0], "--admin", at[1])
	if err != nil {
		return err
	}
	defer probe.Stop()
	if err := child.Ready(ctx, probe, at[1]); err != nil {
		return err
	}
	started, err := child.ResidentKiB(probe.PID())
	if err != nil {
		return err
	}
	for range scaleProcesses {
		stop, err := scaleServer(ctx, bin)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := pause(ctx, 2*time.Second); err != nil { // What is still on its way through the probe.
		return err
	}
	rss, err := child.ResidentKiB(probe.PID())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n## %d processes, %d connections\n\n%.1f MiB resident (target 64 MiB), %.1f MiB before.\n",
		scaleProcesses, scaleConnections, float64(rss)/1024, float64(started)/1024)
	return nil
}

// scaleServer starts a server and makes its share of the connections, with a request on each.
func scaleServer(ctx context.Context, bin string) (stop func(), err error) {
	at, err := child.Free(1)
	if err != nil {
		return nil, err
	}
	s, err := child.Launch(ctx, filepath.Join(bin, "goserver"), "-listen", at[0])
	if err != nil {
		return nil, err
	}
	connections := make([]net.Conn, 0, scaleConnections/scaleProcesses)
	stop = func() {
		for _, c := range connections {
			_ = c.Close()
		}
		s.Stop()
	}
	if err := child.Listening(ctx, at[0]); err != nil {
		stop()
		return nil, err
	}
	for range cap(connections) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", at[0])
		if err != nil {
			stop()
			return nil, err
		}
		connections = append(connections, c)
		if _, err := io.WriteString(c, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			stop()
			return nil, err
		}
		if err := readAnswer(bufio.NewReader(c)); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}
