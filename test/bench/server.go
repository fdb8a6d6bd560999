// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// variant is one way to run the same load.
type variant struct {
	name   string
	target float64 // of its ratio to no probe; 0 for no probe itself
	// args of busbar-probe; nil runs none.
	args []string
}

// round is what one round measured.
type round struct {
	fixed, closed time.Duration // CPU time of the server per request, under either load
	probeRSS      int           // KiB, at the end of the round
}

// benchServer measures the CPU time per request of a Go server under keep-alive load: without a probe, with one that
// observes it, with one that observes the client beside it as well, and with one that was told to observe something else.
// Clients are seldom on the same machine: that the client, too, takes longer and the probe has twice the work shows in
// the server's time, because two processors are shared by all of it.
func benchServer(ctx context.Context, out io.Writer, dir string, rounds int, window time.Duration) error {
	only, err := selecting(dir, "only.yaml", filepath.Join(dir, "goserver"))
	if err != nil {
		return err
	}
	elsewhere, err := selecting(dir, "elsewhere.yaml", "/nowhere")
	if err != nil {
		return err
	}
	variants := []variant{
		{name: "no probe"},
		{name: "btf, server observed", target: 1.20, args: []string{"--tier", "btf", "--config", only}},
		{name: "btf, all observed", args: []string{"--tier", "btf"}},
		{name: "btf, not selected", target: 1.05, args: []string{"--tier", "btf", "--config", elsewhere}},
		{name: "syscall, server observed", args: []string{"--tier", "syscall", "--config", only}},
		{name: "syscall, not selected", args: []string{"--tier", "syscall", "--config", elsewhere}},
	}
	at, err := free(3)
	if err != nil {
		return err
	}
	b := bench{dir: dir, window: window, nats: at[0], server: at[1], admin: at[2]}
	_, natsPort, _ := net.SplitHostPort(b.nats)
	nats, err := launch(ctx, filepath.Join(dir, "nats-server"), "-a", "127.0.0.1", "-p", natsPort, "-js", "-sd", filepath.Join(dir, "js"))
	if err != nil {
		return err
	}
	defer nats.stop()
	server, err := launch(ctx, "taskset", "-c", "1", filepath.Join(dir, "goserver"), "-listen", b.server)
	if err != nil {
		return err
	}
	defer server.stop()
	if err := listening(ctx, b.nats, b.server); err != nil {
		return err
	}
	if _, err := b.closedLoad(ctx, window); err != nil { // Warm-up.
		return err
	}
	measured := make([][]round, len(variants))
	for range rounds {
		for i, v := range variants {
			r, err := b.round(ctx, v, server.pid())
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			measured[i] = append(measured[i], r)
		}
	}
	report(out, fmt.Sprintf("Go server, %d requests/s", loadRate), variants, measured, func(r round) time.Duration { return r.fixed })
	report(out, "Go server, closed loop (wrk)", variants, measured, func(r round) time.Duration { return r.closed })
	return nil
}

// selecting writes an Instrumentation of one executable and returns its path.
func selecting(dir, name, exe string) (string, error) {
	path := filepath.Join(dir, name)
	resource := fmt.Sprintf("apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: bench}\nspec: {select: [{exe: %q}]}\n", exe)
	return path, os.WriteFile(path, []byte(resource), 0o600)
}

// bench is the setting of all rounds: addresses of nats-server, server and the probe's admin port.
type bench struct {
	dir                 string
	window              time.Duration
	nats, server, admin string
}

// round runs the load once under a variant.
func (b bench) round(ctx context.Context, v variant, pid int) (round, error) {
	var probe *child
	if v.args != nil {
		args := append([]string{"--nats-url", "nats://" + b.nats, "--admin", b.admin}, v.args...)
		var err error
		if probe, err = launch(ctx, filepath.Join(b.dir, "busbar-probe"), args...); err != nil {
			return round{}, err
		}
		defer probe.stop()
		if err := ready(ctx, probe, b.admin); err != nil {
			return round{}, err
		}
	}
	if _, err := b.closedLoad(ctx, time.Second); err != nil { // Connections of the last round are gone, the probe has decided.
		return round{}, err
	}
	var (
		r   round
		err error
	)
	if r.fixed, err = cost(ctx, pid, b.window, b.fixedLoad); err != nil {
		return r, err
	}
	if r.closed, err = cost(ctx, pid, b.window, b.closedLoad); err != nil {
		return r, err
	}
	if probe != nil {
		r.probeRSS, err = residentKiB(probe.pid())
	}
	return r, err
}

// cost runs a load and returns the CPU time that a process took for each request of it.
func cost(ctx context.Context, pid int, window time.Duration, load func(context.Context, time.Duration) (int, error)) (time.Duration, error) {
	before, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	n, err := load(ctx, window)
	if err != nil {
		return 0, err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errors.New("no request was answered")
	}
	return (after - before) / time.Duration(n), nil
}

// fixedLoad runs this program's own load in a process of its own.
func (b bench) fixedLoad(ctx context.Context, d time.Duration) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, "taskset", "-c", "0", self, "-load", b.server, "-window", d.String()).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("run the load: %w\n%s", err, out)
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

var wrkRequests = regexp.MustCompile(`(\d+) requests in`)

// closedLoad runs wrk, whose connections ask again as soon as they are answered, and returns how many requests it made.
func (b bench) closedLoad(ctx context.Context, d time.Duration) (int, error) {
	seconds := strconv.Itoa(max(1, int(d.Seconds()))) // wrk takes whole ones.
	out, err := exec.CommandContext(ctx, "taskset", "-c", "0", "wrk", "-t1", "-c16", "-d"+seconds+"s", "http://"+b.server+"/hello").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("run wrk: %w\n%s", err, out)
	}
	m := wrkRequests.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("wrk printed no count:\n%s", out)
	}
	return strconv.Atoi(string(m[1]))
}

// report prints a line per variant: CPU time per request, and the median of the ratios to the round without a probe that
// ran beside it.
func report(out io.Writer, title string, variants []variant, measured [][]round, of func(round) time.Duration) {
	fmt.Fprintf(out, "%-28s %14s %24s %8s %14s\n", title, "CPU/request", "ratio (quartiles)", "target", "probe RSS")
	for i, v := range variants {
		var cpu, ratios []float64
		rss := 0
		for j, r := range measured[i] {
			cpu = append(cpu, float64(of(r).Nanoseconds())/1e3)
			ratios = append(ratios, float64(of(r))/float64(of(measured[0][j])))
			rss = max(rss, r.probeRSS)
		}
		ratio, target, memory := "", "", ""
		if v.args != nil {
			ratio = fmt.Sprintf("%.3f (%.3f-%.3f)", quantile(ratios, .5), quantile(ratios, .25), quantile(ratios, .75))
			memory = fmt.Sprintf("%.1f MiB", float64(rss)/1024)
		}
		if v.target > 0 {
			target = fmt.Sprintf("%.2f", v.target)
		}
		fmt.Fprintf(out, "%-28s %11.2f µs %24s %8s %14s\n", v.name, quantile(cpu, .5), ratio, target, memory)
	}
	fmt.Fprintln(out)
}

func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[int(q*float64(len(s)-1)+.5)]
}
