// SPDX-License-Identifier: Apache-2.0

// Command accuracy answers whether what the probe reports is what happened: real servers and clients of many languages have
// exchanges of every shape that HTTP/1.x knows, this program notes each byte of them, and what busbar-probe publishes is compared
// with that, exchange by exchange.
//
//	go run ./test/accuracy [-tier btf,syscall] [-servers go,…] [-clients go,…] [-shapes keepalive,…] [-n 1000] [-out FILE]
//
// It needs root and the programs of `hack/deps accuracy`. On another machine, whose files are the same but which has no time to
// compile, -prepare DIR is run before and -prepared DIR there; -merge FILE takes over what it wrote.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

// errWrong tells that some cell is not right; the page says which.
var errWrong = errors.New("not everything is reported right")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("accuracy", flag.ContinueOnError)
	c := &choice{progress: io.Discard}
	tiers := words{"btf", "syscall"}
	flags.Var(&tiers, "tier", "`tiers` of the probe, one after the other")
	flags.IntVar(&c.n, "n", 1000, "exchanges of a cell")
	flags.IntVar(&c.few, "few", 0, "exchanges of a cell that is not keep-alive; default: as many")
	flags.DurationVar(&c.quiet, "quiet", 3*time.Second, "how long nothing may come before all is taken to have come")
	flags.Var(&c.servers, "servers", "`keys` of servers, or none; default: all")
	flags.Var(&c.clients, "clients", "`keys` of clients, or none; default: all")
	flags.Var(&c.shapes, "shapes", "`keys` of shapes; default: all")
	flags.Var(&c.calls, "calls", "system `calls` of the C programs, or none; default: all")
	flags.BoolVar(&c.plain, "plain", true, "without TLS")
	flags.BoolVar(&c.secure, "tls", true, "with TLS")
	out := flags.String("out", "", "`page` to write the tables to; default: standard output")
	merge := flags.String("merge", "", "only take over the tables of this `page`")
	prepare := flags.String("prepare", "", "only build the programs under test, into this `folder`")
	prepared := flags.String("prepared", "", "use the programs in this `folder`")
	verbose := flags.Bool("v", false, "tell how long each cell takes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *verbose {
		c.progress = stderr
	}
	switch {
	case *merge != "":
		page, err := os.ReadFile(*merge)
		if err != nil {
			return err
		}
		return update(*out, kernelsPreface, sections(string(page)))
	case *prepare != "":
		return build(ctx, *prepare, c)
	}
	dir, done, err := folder(ctx, *prepared, c)
	if err != nil {
		return err
	}
	defer done()
	w, err := open(dir)
	if err != nil {
		return err
	}
	var wrong error
	for _, tier := range tiers {
		r, err := measure(ctx, w, c, tier)
		if err != nil {
			return fmt.Errorf("tier %s: %w", tier, err)
		}
		if !r.good() {
			wrong = errWrong
		}
		s := r.section(ctx)
		if *out == "" {
			fmt.Fprint(stdout, s.text)
		} else if err := update(*out, preface, []section{s}); err != nil {
			return err
		}
	}
	return wrong
}

// words is a flag whose value is a list.
type words []string

func (w *words) String() string { return strings.Join(*w, ",") }

// Set implements flag.Value.
func (w *words) Set(s string) error {
	*w = strings.Split(s, ",")
	return nil
}

// folder returns the folder of the programs under test, and what to do with it afterwards.
func folder(ctx context.Context, prepared string, c *choice) (dir string, done func(), err error) {
	if prepared != "" {
		return prepared, func() {}, nil
	}
	if dir, err = os.MkdirTemp("", "busbar-accuracy-"); err != nil {
		return "", nil, err
	}
	done = func() { _ = os.RemoveAll(dir) }
	err = errors.Join(os.Chmod(dir, 0o755), build(ctx, dir, c)) //nolint:gosec // PHP-FPM's workers are nobody.
	if err != nil {
		done()
	}
	return dir, done, err
}

// measure fills the matrix under one tier.
func measure(ctx context.Context, w *workshop, c *choice, tier string) (*result, error) {
	m := &matrix{w: w, tier: tier, choice: c}
	defer m.stopServers()
	if err := m.startServers(ctx); err != nil {
		return nil, err
	}
	p, err := startProbe(ctx, w.dir, w.path("busbar-probe"), tier, w.executables())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.run(ctx), p.finish(ctx, c.quiet)); err != nil {
		return nil, err
	}
	r := &result{tier: tier, choice: c, verdicts: judge(m.cells, p.reports), dropped: p.dropped, faults: p.faults}
	fmt.Fprintf(c.progress, "tier %s: %d exchanges reported; lost: %v\n", tier, len(p.reports), p.dropped)
	return r, nil
}
