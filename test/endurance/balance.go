// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// tap counts what the probe publishes.
type tap struct {
	bus     *bus.Bus
	cancel  context.CancelFunc
	done    sync.WaitGroup
	mu      sync.Mutex
	halves  map[eventv1.Role]int
	batches map[uint64]int // by sequence
	dropped map[string]uint64
	faults  int // messages that could not be read
}

func listen(ctx context.Context, url string) (*tap, error) {
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: "endurance"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	t := &tap{bus: b, halves: map[eventv1.Role]int{}, batches: map[uint64]int{}, dropped: map[string]uint64{}}
	ctx, t.cancel = context.WithCancel(ctx)
	t.done.Go(func() { _ = b.Subscribe(ctx, string(subject.DefaultRoot)+".raw.exchange.>", t.take) })
	return t, nil
}

func (t *tap) close() {
	t.cancel()
	t.done.Wait()
	t.bus.Close()
}

func (t *tap) take(d *bus.Delivery) {
	data, err := d.Data()
	var batch eventv1.ExchangeBatch
	if err == nil {
		err = batch.UnmarshalVT(data)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.faults++
		return
	}
	t.batches[batch.GetOrigin().GetSequence()]++
	for _, e := range batch.GetExchanges() {
		if e.GetHttp().GetPath() == churnPath { // else the question whether the probe is ready
			t.halves[e.GetRole()]++
		}
	}
	for reason, n := range batch.GetOrigin().GetDropped() {
		t.dropped[reason] = max(t.dropped[reason], n)
	}
}

// hidden is the reason for runs of hooks that the kernel passed over, whoever was on that processor: each may have hidden a half, and
// most hide nothing.
const hidden = "hook_recursion"

// balance compares what was published and counted with what was answered: each request has two halves.
func (t *tap) balance(out io.Writer, answered int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	lost := 0
	for reason, n := range t.dropped {
		if reason != hidden {
			lost += int(n) //nolint:gosec // A count.
		}
	}
	servers, clients := t.halves[eventv1.Role_ROLE_SERVER], t.halves[eventv1.Role_ROLE_CLIENT]
	fmt.Fprintf(out, "%d requests answered: %d server halves and %d client halves published, lost and counted: %v\n", answered, servers, clients, t.dropped)
	for sequence, n := range t.batches {
		if n != 1 {
			return fmt.Errorf("batch %d came %d times", sequence, n)
		}
	}
	if t.faults > 0 {
		return fmt.Errorf("%d messages could not be read", t.faults)
	}
	missing := 2*answered - servers - clients - lost
	if missing < 0 || missing > int(t.dropped[hidden]) { //nolint:gosec // A count.
		return fmt.Errorf("of %d halves %d are neither published nor counted", 2*answered, missing)
	}
	return nil
}
