// SPDX-License-Identifier: Apache-2.0

// Command bench measures what an exchange costs the enricher, in CPU time as the kernel accounts it: names, routes, spans and metrics
// against decoding and encoding alone. The variants take turns within one run, so that a noisy neighbour hits all of them alike.
//
//	go run ./services/enricher/internal/bench [-rounds 15] [-out docs/speed-enricher.md]
package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/busbar/busbar/kit/run"
)

// headroom is that of the program: how many bytes more the heap may grow by between two collections.
const headroom = 40 << 20

func main() {
	defer run.Headroom(headroom)()
	run.Main("bench", program)
}

func program(_ context.Context, args []string, env func(string) string, stdout, _ io.Writer) error {
	flags := run.NewFlags("bench", "measures what an exchange costs the enricher", "", stdout)
	rounds := flags.Int("rounds", 15, "`NUMBER` of rounds of each variant")
	out := flags.String("out", "", "`FILE` to write the page to as well")
	if err := run.Parse(flags, args, env); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := write(io.MultiWriter(stdout, &text), *rounds); err != nil || *out == "" {
		return err
	}
	return os.WriteFile(*out, text.Bytes(), 0o644) //nolint:gosec // a document
}

// cost is what an exchange took in one round.
type cost struct{ micros, allocations, bytes float64 }

// write measures and writes the page.
func write(out io.Writer, rounds int) error {
	fmt.Fprintf(out, "# What an exchange costs the enricher\n\nWritten by `make bench-enricher` on %s: %s, %d processors, %s; %d rounds, the variants of a round in turn. ",
		time.Now().UTC().Format(time.DateOnly), processor(), runtime.NumCPU(), runtime.Version(), rounds)
	fmt.Fprintf(out, "A round is %d batches of %d exchanges, as probes send them, half of them of the client side, of %d services with %d routes each. ", batches, exchanges, services, routes)
	load, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	fmt.Fprintf(out, "When it began, the load of the machine was %s: other work takes caches and halves of cores, and makes figures larger. ", load)
	fmt.Fprint(out, "Figures are user and system time of the process, garbage collection included, medians with quartiles. Compression and the bus are not included. "+
		"*Decode and encode alone* reads a batch and writes it again as it is: no names, no routes, no metrics.\n\nTarget: 0.9 µs with names, routes, spans and request metrics.\n")
	for _, spread := range []int{10, 100} {
		w, err := newWorkload(spread)
		if err != nil {
			return err
		}
		measured, err := w.measure(rounds)
		if err != nil {
			return err
		}
		w.table(out, measured)
	}
	return nil
}

// measure has the variants take turns.
func (w *workload) measure(rounds int) (map[string][]cost, error) {
	measured := map[string][]cost{}
	for i := range rounds + 2 {
		for _, v := range w.variants {
			c, err := w.round(v.run)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
			if i > 1 { // the first ones warm up
				measured[v.name] = append(measured[v.name], c)
			}
		}
	}
	return measured, nil
}

// round runs a variant over all batches.
func (w *workload) round(run func(data []byte) error) (cost, error) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin, err := used()
	if err != nil {
		return cost{}, err
	}
	for i := range batches {
		if err := run(w.data[i%len(w.data)]); err != nil {
			return cost{}, err
		}
	}
	end, err := used()
	if err != nil {
		return cost{}, err
	}
	runtime.ReadMemStats(&after)
	const n = batches * exchanges
	return cost{
		micros:      float64((end - begin).Nanoseconds()) / 1e3 / n,
		allocations: float64(after.Mallocs-before.Mallocs) / n,
		bytes:       float64(after.TotalAlloc-before.TotalAlloc) / n,
	}, nil
}

// used is the CPU time of the process.
func used() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// table writes what was measured.
func (w *workload) table(out io.Writer, measured map[string][]cost) {
	fmt.Fprintf(out, "\n## %d services on a machine\n\n| | CPU/exchange, µs | against decode and encode | allocations | bytes allocated | bytes made |\n|---|---|---|---|---|---|\n", w.spread)
	base := measured[w.variants[0].name]
	for _, v := range w.variants {
		all := measured[v.name]
		var micros, ratios []float64
		for i, c := range all {
			micros = append(micros, c.micros)
			ratios = append(ratios, c.micros/base[i].micros)
		}
		last := all[len(all)-1]
		fmt.Fprintf(out, "| %s | %s | %s | %.2f | %.0f | %.0f |\n", v.name, spreadOf(micros), spreadOf(ratios), last.allocations, last.bytes, *v.made/exchanges)
	}
}

// spreadOf writes the median with the quartiles.
func spreadOf(all []float64) string {
	sorted := slices.Sorted(slices.Values(all))
	at := func(part float64) float64 { return sorted[int(part*float64(len(sorted)-1)+0.5)] }
	return fmt.Sprintf("%.3f (%.3f-%.3f)", at(0.5), at(0.25), at(0.75))
}

// processor is what the kernel calls the processor.
func processor() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, " \t:\n")
		}
	}
	return cmp.Or(runtime.GOARCH, "unknown")
}

// read returns what a file says, or nothing.
func read(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(data)
}
