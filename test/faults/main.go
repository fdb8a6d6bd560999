// SPDX-License-Identifier: Apache-2.0

// Command faults kills services and the bus under load, and troubles back ends, disks and stores. It counts what came of the records
// that the bus had acknowledged, writes that down as a table, and fails if one is lost or more come twice than may.
//
//	go run ./test/faults [-rounds 20] [-gone 2m] [-only beginning,…] [-out docs/reliability.md]
package main

import (
	"context"
	"errors"
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

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 20, "times that each kill is done")
	flag.DurationVar(&s.gone, "gone", 2*time.Minute, "how long the back end is away")
	flag.DurationVar(&s.spell, "spell", 15*time.Second, "how long each other trouble lasts")
	flag.DurationVar(&s.gap, "gap", 4*time.Second, "time between two kills, on average")
	flag.IntVar(&s.rate, "rate", 500, "messages a second")
	flag.StringVar(&s.bin, "bin", "", "`folder` with the programs, instead of building them")
	only := flag.String("only", "", "beginnings of the names of the rows to run")
	out := flag.String("out", "", "`file` to write the page to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, s, chosen(*only), *out); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// chosen returns the rows whose names have one of these beginnings.
func chosen(beginnings string) []row {
	return slices.DeleteFunc(rows(), func(r row) bool {
		return !slices.ContainsFunc(strings.Split(beginnings, ","), func(b string) bool { return strings.HasPrefix(r.name, b) })
	})
}

func run(ctx context.Context, progress io.Writer, s settings, rows []row, path string) error {
	if s.bin == "" {
		dir, err := os.MkdirTemp("", "busbar-faults-bin-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := child.Build(ctx, dir, programs()); err != nil {
			return err
		}
		s.bin = dir
	}
	var all []outcome
	var errs []error
	for _, r := range rows {
		begin := time.Now()
		o, err := r.run(ctx, s)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, err)
		fmt.Fprintf(progress, "%s%.0fs\n", o.line(), time.Since(begin).Seconds())
		all = append(all, o)
		errs = append(errs, o.check(int(maxRepeated*float64(o.acknowledged))))
	}
	if path != "" {
		errs = append(errs, os.WriteFile(path, page(all, s), 0o644)) //nolint:gosec // A document.
	}
	return errors.Join(errs...)
}
