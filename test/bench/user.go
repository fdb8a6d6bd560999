// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

const (
	agentPackage = "github.com/busbar/busbar/services/probe/internal/agent"
	kernPackage  = "github.com/busbar/busbar/services/probe/internal/kern"
)

// result is what a benchmark of Go's testing package reports, by unit.
type result struct {
	name   string // without "Benchmark" and the number of processors
	values map[string]float64
}

// goBenchmark runs benchmarks of a package. A failed one is an error.
func goBenchmark(ctx context.Context, pkg, pattern string) ([]result, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, pkg).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("benchmark %s: %w\n%s", pattern, err, out)
	}
	return parse(out)
}

// parse reads what benchmarks print.
func parse(out []byte) ([]result, error) {
	var results []result
	for line := range bytes.Lines(out) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		r := result{name, map[string]float64{}}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("a benchmark printed %q: %w", line, err)
			}
			r.values[fields[i+1]] = value
		}
		results = append(results, r)
	}
	return results, nil
}

// benchUser measures what the probe itself uses for each exchange.
func benchUser(ctx context.Context, out io.Writer) error {
	results, err := goBenchmark(ctx, agentPackage, "^BenchmarkLoad$")
	if err != nil {
		return err
	}
	fmt.Fprint(out, "\n## The probe's own work\n\nFrom the kernel's ring to acknowledged messages on a bus in another process. The highest rate keeps "+
		"about half a core busy.\n\n| exchanges/s | CPU/exchange, µs | the same without any exchange, µs | target, µs | lost (target 0) | resident, MiB |\n|---|---|---|---|---|---|\n")
	for _, r := range results {
		rate, _, _ := strings.Cut(strings.TrimPrefix(r.name, "Load/"), "_")
		target := ""
		if rate == "100000" {
			target = "0.40"
		}
		fmt.Fprintf(out, "| %s | %.2f | %.2f | %s | %.1f %% | %.1f |\n", rate, r.values["cpu-ns/exchange"]/1e3, r.values["idle-ns/exchange"]/1e3, target,
			100*r.values["lost/exchange"], r.values["resident-MiB"])
	}
	return nil
}

// benchTraps measures what a trap costs a process before any program does anything.
func benchTraps(ctx context.Context, out io.Writer) error {
	results, err := goBenchmark(ctx, kernPackage, "^BenchmarkTrap$")
	if err != nil {
		return err
	}
	fmt.Fprint(out, "\n## Traps\n\nWhat a hook on a function of a process costs that process for each call before its program does anything: where the kernel does what "+
		"the instruction there does, and where the process has to execute it in a single step. Hooks are put on instructions of the first kind where there are any.\n\n"+
		"| trap | µs |\n|---|---|\n")
	for _, r := range results {
		name := strings.TrimPrefix(r.name, "Trap/")
		if name == "without" {
			continue
		}
		fmt.Fprintf(out, "| %s | %.2f |\n", name, r.values["ns/op"]/1e3)
	}
	return nil
}
