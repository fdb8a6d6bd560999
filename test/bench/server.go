// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/busbar/busbar/test/internal/child"
)

// variant is a probe beside the servers.
type variant struct {
	name string
	args []string // of busbar-probe; nil: there is none
	// target of the ratio of a workload; nil: none.
	target func(workload) float64
}

// variants returns no probe first. The clients are never observed: they are seldom on the servers' machine, and what they take
// longer would show in the servers' time, because all of it shares two processors.
func variants(dir string, tiers []string, servers map[string]*server) ([]variant, error) {
	executables := map[string]bool{}
	for _, s := range servers {
		executables[s.executable] = true
	}
	only, err := selecting(dir, "only.yaml", slices.Sorted(maps.Keys(executables))...)
	if err != nil {
		return nil, err
	}
	elsewhere, err := selecting(dir, "elsewhere.yaml", "/nowhere")
	if err != nil {
		return nil, err
	}
	all := []variant{{name: "no probe"}}
	for _, tier := range tiers {
		observed := variant{name: tier + ", observed", args: []string{"--tier", tier, "--config", only}}
		unselected := variant{name: tier + ", not selected", args: []string{"--tier", tier, "--config", elsewhere}}
		if tier == "btf" {
			observed.target = func(w workload) float64 { return w.observed }
			unselected.target = func(w workload) float64 { return w.unselected }
		}
		all = append(all, observed, unselected)
	}
	return all, nil
}

// selecting writes an Instrumentation of some executables and returns its path.
func selecting(dir, name string, executables ...string) (string, error) {
	var entries []string
	for _, e := range executables {
		entries = append(entries, fmt.Sprintf("{exe: %q}", e))
	}
	path := filepath.Join(dir, name)
	resource := "apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: bench}\nspec: {select: [" + strings.Join(entries, ", ") + "]}\n"
	return path, os.WriteFile(path, []byte(resource), 0o600)
}

// bench is what all rounds share.
type bench struct {
	window      time.Duration
	bin         string
	nats, admin string
	servers     map[string]*server
	workloads   []workload
}

// round is what one variant cost once.
type round struct {
	cpu      []time.Duration // of the server per request, by workload
	probeRSS int             // KiB, at the end
	ready    time.Duration   // from the probe's start on
}

// benchServers measures the CPU time per request of servers under keep-alive load: without a probe, with one that observes them,
// and with one that was told to observe something else.
func benchServers(ctx context.Context, out io.Writer, dir string, s settings) error {
	at, err := child.Free(2)
	if err != nil {
		return err
	}
	b := bench{window: s.window, bin: s.bin, nats: at[0], admin: at[1]}
	for _, w := range workloads() {
		if s.only == nil || slices.ContainsFunc(s.only, func(beginning string) bool { return strings.HasPrefix(w.name, beginning) }) {
			b.workloads = append(b.workloads, w)
		}
	}
	nats, err := child.Launch(ctx, filepath.Join(s.bin, "nats-server"), "-a", "127.0.0.1", "-p", child.Port(b.nats), "-js", "-sd", filepath.Join(dir, "js"))
	if err != nil {
		return err
	}
	defer nats.Stop()
	if err := child.Listening(ctx, b.nats); err != nil {
		return err
	}
	servers, stop, err := startServers(ctx, dir, s.bin)
	if err != nil {
		return err
	}
	defer stop()
	b.servers = servers
	all, err := variants(dir, s.tiers, servers)
	if err != nil {
		return err
	}
	measured := make([][]round, len(all))
	for range s.rounds {
		for i, v := range all {
			r, err := b.round(ctx, v)
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			measured[i] = append(measured[i], r)
		}
	}
	var counts []string
	if s.tiers[0] == "btf" {
		if counts, err = b.count(ctx, all[1]); err != nil {
			return err
		}
	}
	b.report(out, all, measured, counts)
	return nil
}

// start starts the probe of a variant, if it has one, and tells how long it took to be ready.
func (b bench) start(ctx context.Context, v variant) (*child.Child, time.Duration, error) {
	if v.args == nil {
		return nil, 0, nil
	}
	begin := time.Now()
	args := append([]string{"--nats-url", "nats://" + b.nats, "--admin", b.admin}, v.args...)
	probe, err := child.Launch(ctx, filepath.Join(b.bin, "busbar-probe"), args...)
	if err != nil {
		return nil, 0, err
	}
	if err := child.Ready(ctx, probe, b.admin); err != nil {
		probe.Stop()
		return nil, 0, err
	}
	return probe, time.Since(begin), nil
}

// round runs every workload once under a variant.
func (b bench) round(ctx context.Context, v variant) (round, error) {
	var r round
	probe, ready, err := b.start(ctx, v)
	if err != nil {
		return r, err
	}
	if probe != nil {
		r.ready = ready
		defer probe.Stop()
	}
	for _, w := range b.workloads {
		s := b.servers[w.server]
		if _, err := w.measure(ctx, s, b.window/4); err != nil { // Warm-up: the probe decides about the process.
			return r, fmt.Errorf("%s: %w", w.name, err)
		}
		a, err := w.measure(ctx, s, b.window)
		if err != nil {
			return r, fmt.Errorf("%s: %w", w.name, err)
		}
		r.cpu = append(r.cpu, a.CPU/time.Duration(a.Requests))
	}
	if probe != nil {
		r.probeRSS, err = child.ResidentKiB(probe.PID())
	}
	return r, err
}

// report prints a table per workload: CPU time per request, and the median of the ratios to the round without a probe that ran
// beside it. counts are sentences about the workloads.
func (b bench) report(out io.Writer, all []variant, measured [][]round, counts []string) {
	rss := 0
	var ready []float64
	for i, w := range b.workloads {
		fmt.Fprintf(out, "\n## %s, %d requests/s\n\n| | CPU/request, µs | added, µs | ratio (quartiles) | target |\n|---|---|---|---|---|\n", w.name, w.rate)
		for j, v := range all {
			var cpu, added, ratios []float64
			for k, r := range measured[j] {
				without := measured[0][k].cpu[i]
				cpu = append(cpu, float64(r.cpu[i].Nanoseconds())/1e3)
				added = append(added, float64((r.cpu[i]-without).Nanoseconds())/1e3)
				ratios = append(ratios, float64(r.cpu[i])/float64(without))
				rss = max(rss, r.probeRSS)
				if i == 0 && r.ready > 0 {
					ready = append(ready, r.ready.Seconds())
				}
			}
			if v.args == nil {
				fmt.Fprintf(out, "| %s | %.2f | | | |\n", v.name, quantile(cpu, .5))
				continue
			}
			target := ""
			if v.target != nil && v.target(w) > 0 {
				target = fmt.Sprintf("%.2f", v.target(w))
			}
			fmt.Fprintf(out, "| %s | %.2f | %.2f | %.3f (%.3f-%.3f) | %s |\n", v.name, quantile(cpu, .5), quantile(added, .5),
				quantile(ratios, .5), quantile(ratios, .25), quantile(ratios, .75), target)
		}
		if counts != nil {
			fmt.Fprintf(out, "\n%s\n", counts[i])
		}
	}
	fmt.Fprintf(out, "\nThe probe was ready %.1f s after its start and had %.1f MiB resident at most.\n", quantile(ready, .5), float64(rss)/1024)
}

func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[int(q*float64(len(s)-1)+.5)]
}
