// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the probe costs, as ratios: the variants take turns within one run, so that a noisy
// neighbour hits all of them alike, and what counts is CPU time as the scheduler accounts it, not the clock.
//
//	go run ./test/bench [-rounds 7] [-window 2s] [-tiers btf,syscall] [-only Go,nginx] [-out docs/cost.md]
//
// It needs root, nginx, python3 and taskset, and prints tables in Markdown.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/busbar/busbar/test/internal/child"
)

// settings are the flags.
type settings struct {
	rounds int
	window time.Duration
	tiers  []string
	only   []string // beginnings of names of workloads; none means all
	bin    string   // folder with the programs; empty: they are built
}

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 7, "rounds of each variant")
	flag.DurationVar(&s.window, "window", 2*time.Second, "length of one round")
	flag.StringVar(&s.bin, "bin", "", "`folder` with busbar, busbar-probe, goserver and nats-server, instead of building them")
	tiers := flag.String("tiers", "btf,syscall", "tiers to measure")
	only := flag.String("only", "", "beginnings of the names of the workloads to measure; all without")
	work := flag.String("load", "", "only make the requests that this JSON describes, and print how many were answered")
	out := flag.String("out", "", "`file` to write the tables to as well")
	flag.Parse()
	s.tiers = strings.Split(*tiers, ",")
	if *only != "" {
		s.only = strings.Split(*only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *work != "" {
		err = makeLoad(ctx, *work)
	} else {
		var text bytes.Buffer
		err = run(ctx, io.MultiWriter(os.Stdout, &text), s)
		if err == nil && *out != "" {
			err = os.WriteFile(*out, text.Bytes(), 0o644) //nolint:gosec // A document.
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func makeLoad(ctx context.Context, description string) error {
	var l load
	if err := json.Unmarshal([]byte(description), &l); err != nil {
		return err
	}
	n, err := l.make(ctx)
	fmt.Println(n)
	return err
}

func run(ctx context.Context, out io.Writer, s settings) error {
	dir, err := os.MkdirTemp("", "busbar-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if s.bin == "" {
		s.bin = dir
		if err := child.Build(ctx, dir, programs()); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "# What the probe costs\n\nWritten by `make bench-probe`: %d CPUs, kernel %s, %s; %d rounds of %v, the variants of a round in turn.\n",
		runtime.NumCPU(), kernel(), runtime.Version(), s.rounds, s.window)
	if err := benchServers(ctx, out, dir, s); err != nil {
		return err
	}
	if err := benchScale(ctx, out, dir, s.bin); err != nil {
		return err
	}
	return benchIdle(ctx, out, dir, s.bin)
}

// programs are what the benchmark runs.
func programs() map[string]string {
	return map[string]string{
		"busbar":       "github.com/busbar/busbar/cmd/busbar",
		"busbar-probe": "github.com/busbar/busbar/services/probe/cmd/busbar-probe",
		"goserver":     "github.com/busbar/busbar/test/e2e/goserver",
		"nats-server":  "github.com/nats-io/nats-server/v2",
	}
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return string(b[:len(b)-1])
}
