// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/busbar/busbar/test/internal/child"
)

const (
	flatOut  = 10 * time.Second
	deadFor  = 20 * time.Second
	deadRate = 50_000 // spans a second
)

// memory measures memory at full load, and while the destination is dead.
func memory(ctx context.Context, out io.Writer, s settings, bodies [][]byte) error {
	to := new(sink)
	if err := to.open(ctx); err != nil {
		return err
	}
	busbar, err := newStack(ctx, s.bin, to.address)
	if err != nil {
		return err
	}
	defer busbar.close()
	way := busbar.way(ourPlain, "plain")
	full, cancel := context.WithTimeout(ctx, flatOut)
	defer cancel()
	peaks := map[string]int{}
	if err := watch(full, way, bodies, 0, peaks); err != nil {
		return err
	}
	taken := to.spans.Load()
	to.close()
	dead, end := context.WithTimeout(ctx, deadFor/2)
	defer end()
	first, second := map[string]int{}, map[string]int{}
	if err := watch(dead, way, bodies, deadRate, first); err != nil {
		return err
	}
	rest, stop := context.WithTimeout(ctx, deadFor/2)
	defer stop()
	if err := watch(rest, way, bodies, deadRate, second); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n## Memory\n\nPeaks of what is resident, in MiB: %v flat out (%.0f spans a second), and then two halves of %v without a back end at %d spans a second. Target: %d, and flat.\n\n"+
		"| | flat out | back end dead, first half | second half |\n|---|---|---|---|\n", flatOut, float64(taken)/flatOut.Seconds(), deadFor, deadRate, targetMiB)
	for _, name := range []string{"router", "exporter", "nats-server"} {
		fmt.Fprintf(out, "| %s | %d | %d | %d |\n", name, peaks[name]>>10, first[name]>>10, second[name]>>10)
	}
	return nil
}

// watch feeds a pipeline until ctx ends, flat out without a rate, and notes the peak of each process in KiB.
func watch(ctx context.Context, p *pipeline, bodies [][]byte, rate int, peaks map[string]int) error {
	fed := make(chan error, 1)
	every := time.Duration(0)
	if rate > 0 {
		every = time.Second * spans / time.Duration(rate)
	}
	go func() { fed <- feed(ctx, p, bodies, 1<<40, every) }()
	for pause(ctx, 100*time.Millisecond) == nil {
		for name, c := range p.processes {
			kib, err := child.ResidentKiB(c.PID())
			if err != nil {
				return err
			}
			peaks[name] = max(peaks[name], kib)
		}
	}
	if err := <-fed; err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
