// SPDX-License-Identifier: Apache-2.0

// Command speed measures what it costs to take OpenTelemetry data through router, bus and exporter, against a pipeline of the
// Collector's own components. The variants take turns within one run, so that a noisy neighbour hits all of them alike, and what
// counts is CPU time as the scheduler accounts it, not the clock.
//
//	go run ./test/speed [-ingest] [-rounds 7] [-rate 100000] [-window 2s] [-out docs/speed.md]
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
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
	rate   int // spans a second
	bin    string
	only   []string // beginnings of names of variants
}

func (s settings) chosen(name string) bool {
	return len(s.only) == 0 || slices.ContainsFunc(s.only, func(b string) bool { return strings.HasPrefix(name, b) })
}

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 7, "rounds of each variant")
	flag.DurationVar(&s.window, "window", 2*time.Second, "length of one round at the rate")
	flag.IntVar(&s.rate, "rate", 100_000, "spans a second")
	flag.StringVar(&s.bin, "bin", "", "`folder` with the programs, instead of building them")
	only := flag.String("only", "", "beginnings of the names of what to measure, parted by ';': variants, and Memory")
	work := flag.String("collector", "", "only run the pipeline that this JSON describes")
	in := flag.Bool("ingest", false, "measure what it takes to take data in, instead of handing it on")
	out := flag.String("out", "", "`file` to write the page to as well")
	flag.Parse()
	if *only != "" {
		s.only = strings.Split(*only, ";")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	var text bytes.Buffer
	if *work != "" {
		err = runCollector(ctx, *work)
	} else {
		err = run(ctx, io.MultiWriter(os.Stdout, &text), s, *in)
	}
	if err == nil && *out != "" {
		err = write(*out, text.Bytes())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, s settings, in bool) error {
	if s.bin == "" {
		dir, err := os.MkdirTemp("", "busbar-speed-bin-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := child.Build(ctx, dir, programs()); err != nil {
			return err
		}
		s.bin = dir
	}
	all, err := payloads()
	if err != nil {
		return err
	}
	if in {
		return ingest(ctx, out, s, all)
	}
	head(out, s, len(all[0]))
	if err := compare(ctx, out, s, all); err != nil || !s.chosen("Memory") {
		return err
	}
	return memory(ctx, out, s, all)
}

// programs are what the benchmark runs.
func programs() map[string]string {
	return map[string]string{
		"busbar-router":      "github.com/busbar/busbar/services/router/cmd/busbar-router",
		"busbar-ingest-otlp": "github.com/busbar/busbar/services/ingest-otlp/cmd/busbar-ingest-otlp",
		"busbar-exporter":    "github.com/busbar/busbar/services/exporter/cmd/busbar-exporter",
		"nats-server":        "github.com/nats-io/nats-server/v2",
	}
}
