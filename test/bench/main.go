// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the probe costs, as ratios: the variants take turns within one run, so that a noisy
// neighbour hits all of them alike, and what counts is CPU time as the scheduler accounts it, not the clock.
//
//	go run ./test/bench [-rounds 9] [-window 2s]
//
// It needs root, wrk and taskset, and prints one line per figure with its target.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 9, "rounds of each variant")
	window := flag.Duration("window", 2*time.Second, "length of one round")
	load := flag.String("load", "", "only make requests to this `address` for a window, and print how many were answered")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *load != "" {
		n, err := fixedLoad(ctx, *load, *window)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		fmt.Println(n)
		return
	}
	if err := run(ctx, os.Stdout, *rounds, *window); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, rounds int, window time.Duration) error {
	dir, err := os.MkdirTemp("", "busbar-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(ctx, dir); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d CPUs, kernel %s, %s; %d rounds of %v, variants in turn\n\n", runtime.NumCPU(), kernel(), runtime.Version(), rounds, window)
	if err := benchServer(ctx, out, dir, rounds, window); err != nil {
		return err
	}
	return benchIdle(ctx, out, dir)
}

// build compiles the programs that the benchmark runs.
func build(ctx context.Context, dir string) error {
	for name, pkg := range map[string]string{
		"busbar":       "github.com/busbar/busbar/cmd/busbar",
		"busbar-probe": "github.com/busbar/busbar/services/probe/cmd/busbar-probe",
		"goserver":     "github.com/busbar/busbar/test/e2e/goserver",
		"nats-server":  "github.com/nats-io/nats-server/v2",
	} {
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return string(b[:len(b)-1])
}
