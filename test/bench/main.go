// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the probe costs, as ratios: the variants take turns within one run, so that a noisy
// neighbour hits all of them alike, and what counts is CPU time as the scheduler accounts it, not the clock.
//
//	go run ./test/bench [-rounds 7] [-window 1.3s] [-tiers btf,syscall] [-only Go,nginx] [-out docs/cost.md]
//
// It needs root, nginx, python3 and taskset, and prints tables in Markdown.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
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
	flag.DurationVar(&s.window, "window", 1300*time.Millisecond, "length of one round")
	flag.StringVar(&s.bin, "bin", "", "`folder` with busbar, busbar-probe, goserver and nats-server, instead of building them")
	tiers := flag.String("tiers", "btf,syscall", "tiers to measure")
	only := flag.String("only", "", "beginnings of the names of the workloads to measure, and nothing else; without, everything")
	work := flag.String("load", "", "only make the requests that this JSON describes, and print what came of them")
	kernels := flag.String("kernels", "", "measure on these `versions` of the kernel instead, in emulated machines")
	out := flag.String("out", "", "`file` to write the tables to as well")
	flag.Parse()
	s.tiers = strings.Split(*tiers, ",")
	if *only != "" {
		s.only = strings.Split(*only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	var text bytes.Buffer
	tables := io.MultiWriter(os.Stdout, &text)
	switch {
	case *work != "":
		err = makeLoad(ctx, *work)
	case *kernels != "":
		err = benchKernels(ctx, tables, strings.Split(*kernels, ","))
	default:
		err = run(ctx, tables, s)
	}
	if err == nil && *out != "" {
		err = write(*out, text.Bytes())
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
	a, err := l.make(ctx)
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(a))
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
	fmt.Fprintf(out, "# What the probe costs\n\nWritten by `make bench-probe` on %s: %d × %s, kernel %s, %s; %d rounds of %v, the variants of a round in turn. All figures are medians; "+
		"CPU time is that of the server's process, as the scheduler accounts it.\n",
		time.Now().Format(time.DateOnly), runtime.NumCPU(), processor(), kernel(), runtime.Version(), s.rounds, s.window)
	if err := benchServers(ctx, out, dir, s); err != nil {
		return err
	}
	if s.only != nil {
		return nil
	}
	return errors.Join(benchTraps(ctx, out), benchUser(ctx, out), benchScale(ctx, out, dir, s.bin), benchIdle(ctx, out, dir, s.bin))
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

// processor returns the name of the machine's processors, and whether they are virtual.
func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	name, virtual := "unknown processor", ""
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			name = strings.TrimSpace(value)
		case "flags":
			if slices.Contains(strings.Fields(value), "hypervisor") {
				virtual = " (virtual)"
			}
		}
	}
	return name + virtual
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return string(b[:len(b)-1])
}
