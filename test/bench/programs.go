// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// statsSwitch makes the kernel count and time the runs of programs, which costs each run a little more.
const statsSwitch = "/proc/sys/kernel/bpf_stats_enabled"

// trapProgram is BPF_PROG_TYPE_KPROBE, which programs at functions of processes are of.
const trapProgram = 2

// runs are those of the programs of a probe.
type runs struct {
	all, traps int
	time       time.Duration // of all
}

// ratio returns the runs per request, and their time in µs.
func (r runs) ratio(requests int) (all, traps, time float64) {
	n := float64(requests)
	return float64(r.all) / n, float64(r.traps) / n, float64(r.time.Nanoseconds()) / 1e3 / n
}

// programRuns reads the counts of the programs that a process holds, as the kernel shows them among its descriptors.
func programRuns(pid int) (runs, error) {
	var sum runs
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return sum, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			return sum, err
		}
		info := map[string]int{}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				info[name] = n
			}
		}
		sum.all += info["run_cnt"]
		sum.time += time.Duration(info["run_time_ns"])
		if info["prog_type"] == trapProgram {
			sum.traps += info["run_cnt"]
		}
	}
	return sum, nil
}

// count runs every workload once more under a variant, with the kernel counting, and returns a sentence about each.
func (b bench) count(ctx context.Context, v variant) ([]string, error) {
	before, err := os.ReadFile(statsSwitch)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(statsSwitch, []byte("1"), 0); err != nil {
		return nil, err
	}
	defer func() { _ = os.WriteFile(statsSwitch, before, 0) }()
	probe, _, err := b.start(ctx, v)
	if err != nil {
		return nil, err
	}
	defer probe.Stop()
	var sentences []string
	for _, w := range b.workloads {
		server := b.servers[w.server]
		if _, err := w.measure(ctx, server, b.window/4); err != nil {
			return nil, err
		}
		from, err := programRuns(probe.PID())
		if err != nil {
			return nil, err
		}
		a, err := w.measure(ctx, server, b.window)
		if err != nil {
			return nil, err
		}
		to, err := programRuns(probe.PID())
		if err != nil {
			return nil, err
		}
		all, traps, spent := runs{to.all - from.all, to.traps - from.traps, to.time - from.time}.ratio(a.Requests)
		sentence := fmt.Sprintf("By the kernel's count the probe's programs run %.1f times a request and take %.2f µs", all, spent)
		if traps >= .1 {
			sentence += fmt.Sprintf("; %.1f of these runs are traps in the process", traps)
		}
		sentences = append(sentences, sentence+".")
	}
	return sentences, nil
}
