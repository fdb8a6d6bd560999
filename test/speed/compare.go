// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/test/internal/child"
)

// senders is how many requests may be on their way into a pipeline.
const senders = 16

// cost is what a span took of each process, and "all" of all of them, in microseconds.
type cost map[string]float64

// pace is how spans come in.
type pace struct {
	name     string
	messages int           // in a round
	every    time.Duration // a message; 0: as soon as those before are taken
}

// paces are those of the tables.
func (s settings) paces() []pace {
	messages := int(s.window.Seconds()*float64(s.rate)) / spans
	return []pace{
		{fmt.Sprintf("At %d spans a second", s.rate), messages, time.Second * spans / time.Duration(s.rate)},
		{"Flat out", messages, 0},
	}
}

// round sends spans through a pipeline, and returns what that took when all have come to the sink.
func round(ctx context.Context, p *pipeline, to *sink, bodies [][]byte, at pace) (cost, error) {
	before, err := p.cpu()
	if err != nil {
		return nil, err
	}
	goal := to.spans.Load()
	if err := feed(ctx, p, bodies, at.messages, at.every); err != nil {
		return nil, err
	}
	goal += int64(at.messages * spans)
	err = child.Poll(ctx, "the spans of "+p.name, func() (bool, error) { return to.spans.Load() >= goal, nil })
	if err != nil {
		return nil, err
	}
	after, err := p.cpu()
	if err != nil {
		return nil, err
	}
	c := cost{}
	for name := range after {
		c[name] = (after[name] - before[name]).Seconds() * 1e6 / float64(at.messages*spans)
		c["all"] += c[name]
	}
	return c, nil
}

// feed sends messages, each at its time; one that is late is sent at once.
func feed(ctx context.Context, p *pipeline, bodies [][]byte, messages int, every time.Duration) error {
	var next atomic.Int64
	var once sync.Once
	var failure error
	begin := time.Now()
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= messages || pause(ctx, time.Until(begin.Add(time.Duration(i)*every))) != nil {
					return
				}
				if err := p.send(ctx, bodies[i%len(bodies)]); err != nil {
					once.Do(func() { failure = fmt.Errorf("send to %s: %w", p.name, err) })
					return
				}
			}
		})
	}
	all.Wait()
	return failure
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// The pipelines that are compared.
const (
	peerPlain    = "Collector, plain"
	peerGzip     = "Collector, gzip"
	peerFastGzip = "Collector, gzip by our library"
	ourPlain     = "Busbar, plain"
	ourGzip      = "Busbar, gzip"
	ourSteps     = "Busbar, one match and one transform"

	variants = 6
)

// compare has all pipelines take turns.
func compare(ctx context.Context, out io.Writer, s settings, bodies [][]byte) error {
	to := new(sink)
	if err := to.open(ctx); err != nil {
		return err
	}
	defer to.close()
	var all []*pipeline
	defer func() {
		for _, p := range all {
			for name, c := range p.processes {
				if name == "collector" {
					c.Stop()
				}
			}
		}
	}()
	for _, c := range []struct {
		name string
		collector
	}{
		{peerPlain, collector{Out: to.address, Compression: "none"}},
		{peerGzip, collector{Out: to.address, Compression: "gzip"}},
		{peerFastGzip, collector{Out: to.address, Compression: "gzip", Fast: true}},
	} {
		if !s.chosen(c.name) {
			continue
		}
		p, err := peer(ctx, c.name, c.collector)
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	busbar, err := newStack(ctx, s.bin, to.address)
	if err != nil {
		return err
	}
	defer busbar.close()
	all = append(all, busbar.way(ourPlain, "plain"), busbar.way(ourGzip, "gzip"), busbar.way(ourSteps, "steps"))
	all = slices.DeleteFunc(all, func(p *pipeline) bool { return !s.chosen(p.name) })
	if len(all) == 0 {
		return nil
	}
	for _, at := range s.paces() {
		costs := map[string][]cost{}
		for i := range s.rounds + 1 {
			for _, p := range all {
				c, err := round(ctx, p, to, bodies, at)
				if err != nil {
					return err
				}
				if i > 0 { // the first one warms up
					costs[p.name] = append(costs[p.name], c)
				}
			}
		}
		table(out, at, all, costs)
	}
	return nil
}

// of returns what each round took of a process.
func of(costs []cost, process string) []float64 {
	var all []float64
	for _, c := range costs {
		all = append(all, c[process])
	}
	return all
}

// ratios are those of each round.
func ratios(a, b []float64) []float64 {
	var all []float64
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	return all
}

// quartile returns the value that a part of all is below.
func quartile(all []float64, part float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(part*float64(len(sorted)-1)+0.5)]
}

func median(all []float64) float64 { return quartile(all, 0.5) }
