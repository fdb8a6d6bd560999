// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

// Targets: CPU per span of router, exporter and bus together against the Collector's, and of the router alone.
const (
	targetPlain = 0.75
	targetGzip  = 0.6
	targetPass  = 0.2 // microseconds
	targetSteps = 2.0 // microseconds
	targetMiB   = 150
)

func head(out io.Writer, s settings, bytes int) {
	fmt.Fprintf(out, "# What a span costs\n\nWritten by `make bench-pipeline` on %s: %d processors, %s; %d rounds of %d spans, the variants of a round in turn, "+
		"in messages of %d spans and %d KiB. CPU time is that of all processes between who sends and the back end, as the scheduler accounts it; figures are medians, with quartiles. "+
		"*Collector* is its own OTLP receiver, batch processor and OTLP exporter over gRPC, with default settings, in one process. *Busbar* is nats-server, with the stream that the "+
		"data comes in by and that of the destination on disk, router and exporter. With gzip the Collector takes and sends gzip, Busbar sends it. "+
		"At a fixed rate much of the time goes into falling asleep and waking up; flat out is what a processor can do.\n",
		time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), s.rounds, s.paces()[0].messages*spans, spans, bytes>>10)
}

func table(out io.Writer, at pace, all []*pipeline, costs map[string][]cost) {
	fmt.Fprintf(out, "\n## %s\n\n", at.name)
	fmt.Fprint(out, "| | CPU/span, µs | bus | router | exporter |\n|---|---|---|---|---|\n")
	for _, p := range all {
		c := costs[p.name]
		part := func(process string) string {
			if p.processes[process] == nil {
				return ""
			}
			return fmt.Sprintf("%.3f", median(of(c, process)))
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s |\n", p.name, spread(of(c, "all")), part("nats-server"), part("router"), part("exporter"))
	}
	if len(costs) < variants {
		return
	}
	fmt.Fprint(out, "\n| | ratio, or µs | target |\n|---|---|---|\n")
	against := func(what, ours, theirs string, target float64) {
		fmt.Fprintf(out, "| %s | %s | %.2f |\n", what, spread(ratios(of(costs[ours], "all"), of(costs[theirs], "all"))), target)
	}
	against("Busbar against Collector", ourPlain, peerPlain, targetPlain)
	against("Busbar against Collector, gzip", ourGzip, peerGzip, targetGzip)
	against("Busbar against Collector, gzip by our library in both", ourGzip, peerFastGzip, targetGzip)
	fmt.Fprintf(out, "| router, pass-through | %s | %.1f µs |\n", spread(of(costs[ourPlain], "router")), targetPass)
	fmt.Fprintf(out, "| router, one match and one transform | %s | %.1f µs |\n", spread(of(costs[ourSteps], "router")), targetSteps)
}

func spread(all []float64) string {
	return fmt.Sprintf("%.3f (%.3f-%.3f)", median(all), quartile(all, 0.25), quartile(all, 0.75))
}
