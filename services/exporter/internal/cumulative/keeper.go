// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"golang.org/x/sync/errgroup"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

const (
	// checkpointEvery is how often what has changed is kept: what a crash has read again.
	checkpointEvery = 5 * time.Second
	// sweepEvery is how often stale series are forgotten.
	sweepEvery = 10 * time.Second
	// lookEvery is how often the keeper tells how it does.
	lookEvery = 5 * time.Second
	// idle is how long the keeper waits for messages before it looks around.
	idle = 500 * time.Millisecond
	// flushEvery is how often changed series are handed on, so that a trickle of messages is not a trickle of requests.
	flushEvery = 500 * time.Millisecond
	// flushPoints is how many points are handed on before that.
	flushPoints = 5000
	// ahead is how many messages of the stream may be handed on between two checkpoints.
	ahead = 8192
	// farewell bounds the last checkpoint of a process that ends.
	farewell = 2 * time.Second
)

// Keeper reads the stream of a destination into a State: the shards that are its share, each from where its last owner has left
// it. Fill in the fields before Run.
type Keeper struct {
	Bus         *bus.Bus
	Root        subject.Root
	Destination string
	Instance    string // unique among the exporters of one bus; the next life of an instance has at once what the last one had
	As          bus.ConsumerSpec
	State       *State
	Log         *slog.Logger
	// Deliver hands on changed series and returns how many points were left out. It repeats what fails for a passing reason until ctx ends; nil for a
	// State that is only looked at.
	Deliver func(ctx context.Context, metrics pmetric.Metrics, points int) error
	// Added is told of each message that was added for the first time, and of the records that found no place. A
	// nil Left for a message of another signal than metrics, which is not added.
	Added func(d *bus.Delivery, signal subject.Signal, left Left)
	// Standing is told now and then how things are.
	Standing func(Standing)

	vault  *vault
	owned  map[int]*ownedShard
	reader *bus.Reader
	made   time.Time // when the stream being read was made
	unsent bool      // the State has what was not handed on
	hand   uint64    // messages that were read and are not added, or not handed on
	behind uint64    // sequence up to which the last owner may have handed on what is read
	unseen uint64    // sequence up to which the last owner may have shown what is read; 0: all is shown
	due    struct{ flush, checkpoint, sweep, look time.Time }
	kept   time.Time   // when everything was last kept
	gone   atomic.Bool // what was kept has vanished
	lost   bus.Gap
	read   uint64 // sequence of the last message
}

// Standing is how a Keeper does.
type Standing struct {
	Shards  int
	Series  int
	Pending uint64        // messages that were not added, or not handed on
	Lost    uint64        // messages that the stream dropped unread, since the last time; estimated unless all shards are owned
	Age     time.Duration // since everything was last kept
}

// Run reads until ctx ends, when it keeps everything and lets go of its shards. It returns an error only if the Bus is closed
// or state cannot be kept at all.
func (k *Keeper) Run(ctx context.Context) error {
	if err := k.Bus.Provision(ctx, bus.StreamSpec(k.Root.StateStream(k.Destination))); err != nil {
		return err
	}
	life := rand.Uint64()
	k.vault = &vault{k.Bus, k.Root, k.Destination, k.Instance, life}
	k.owned = make(map[int]*ownedShard)
	now := time.Now()
	k.due.flush, k.due.checkpoint, k.due.sweep, k.due.look, k.kept = now, now.Add(checkpointEvery), now.Add(sweepEvery), now, now
	wants, lets := make(chan []int, 1), make(chan int, subject.Shards)
	var g errgroup.Group
	ctx, cancel := context.WithCancel(ctx)
	g.Go(func() error {
		k.agree(ctx, life, wants, lets)
		return nil
	})
	err := k.work(ctx, wants, lets)
	cancel()
	k.end(lets)
	return errors.Join(err, g.Wait())
}

// agree takes part in sharing out the shards until ctx ends and all that were owned have been let go of.
func (k *Keeper) agree(ctx context.Context, life uint64, wants chan []int, lets <-chan int) {
	o := &owners{
		bus: k.Bus, stream: k.vault.stream(), subject: k.Root.Owners(k.Destination), instance: k.Instance, life: life, log: k.Log,
		heard: make(map[string]heard), let: make(map[int]bool), vanished: func() { k.gone.Store(true) },
	}
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		want, err := o.beat(ctx)
		if err == nil {
			select { // what was wanted before is void
			case <-wants:
			default:
			}
			wants <- want
		} else if ctx.Err() == nil {
			k.Log.Debug("shards cannot be agreed on now", "error", err)
		}
		select {
		case <-tick.C:
		case shard := <-lets:
			o.letGo(shard)
			for len(lets) > 0 {
				o.letGo(<-lets)
			}
		case <-ctx.Done():
			for range lets { // until all are kept
			}
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			defer cancel()
			if err := o.leave(bye); err != nil {
				k.Log.Debug("shards are left to be found", "error", err)
			}
			return
		}
	}
}

// work reads until ctx ends.
func (k *Keeper) work(ctx context.Context, wants <-chan []int, lets chan<- int) error {
	for ctx.Err() == nil {
		select {
		case want := <-wants:
			k.adopt(ctx, want, lets)
		default:
		}
		if len(k.owned) == 0 {
			k.look(ctx)
			select {
			case want := <-wants:
				k.adopt(ctx, want, lets)
			case <-time.After(lookEvery):
			case <-ctx.Done():
			}
			continue
		}
		if err := k.step(ctx, lets); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// step reads what there is, hands it on, and keeps it when that is due.
func (k *Keeper) step(ctx context.Context, lets chan<- int) error {
	wait, cancel := context.WithTimeout(ctx, idle)
	batch, err := k.reader.Next(wait)
	cancel()
	switch {
	case errors.Is(err, bus.ErrAnew):
		k.Log.Warn("the stream of the destination was made anew")
		k.restart(ctx, lets)
		return nil
	case errors.Is(err, bus.ErrClosed):
		return err
	}
	k.hand += uint64(len(batch))
	for _, d := range batch {
		if err := k.add(ctx, d, lets); err != nil {
			return err
		}
	}
	if !k.unsent {
		k.hand = 0
	}
	k.reveal()
	k.chores(ctx, lets)
	return nil
}

// reveal has shards shown when all is read that their last owners may have shown.
func (k *Keeper) reveal() {
	if k.unseen > 0 && (k.read >= k.unseen || k.reader.CaughtUp()) {
		k.State.Reveal()
		k.unseen = 0
	}
}

// chores does what is due.
func (k *Keeper) chores(ctx context.Context, lets chan<- int) {
	now := time.Now()
	if now.After(k.due.flush) || k.State.queued() >= flushPoints {
		k.flush(ctx)
	}
	if now.After(k.due.sweep) {
		k.due.sweep = now.Add(sweepEvery)
		k.State.Sweep()
	}
	if k.gone.Swap(false) {
		k.renew()
		k.due.checkpoint = now
	}
	if !now.Before(k.due.checkpoint) && !k.unsent {
		k.due.checkpoint = now.Add(checkpointEvery)
		k.checkpoint(ctx, lets)
	}
	k.Look(ctx)
}

// add takes in a message.
func (k *Keeper) add(ctx context.Context, d *bus.Delivery, lets chan<- int) error {
	defer func() { k.read = d.Sequence }()
	parts, ok := k.Root.ParseOut(d.Subject)
	if !ok {
		return k.bury(ctx, d, "subject", fmt.Errorf("parse subject %q: want <root>.out.<destination>.<signal>.<shard>", d.Subject))
	}
	s := k.owned[parts.Shard]
	if s == nil {
		return nil
	}
	if k.Deliver != nil && d.Sequence > s.horizon {
		k.flush(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.horizon = d.Sequence + ahead
		k.checkpointShard(ctx, parts.Shard, s, lets, false)
	}
	m := Message{Shard: parts.Shard, Sequence: d.Sequence, Time: d.Time}
	var undecodable error
	if parts.Signal == subject.Metrics {
		m.ID = d.Header(bus.HeaderID)
		m.Data, undecodable = d.Data()
	}
	left, added, err := k.State.Apply(m)
	if !added {
		return nil
	}
	s.moved, k.unsent = true, k.unsent || k.Deliver != nil
	if err = errors.Join(undecodable, err); err != nil {
		return k.bury(ctx, d, bus.ReasonUndecodable, err)
	}
	k.reader.Done(d)
	k.Added(d, parts.Signal, left)
	return nil
}

// bury gives a message up, for as long as it takes.
func (k *Keeper) bury(ctx context.Context, d *bus.Delivery, reason string, cause error) error {
	for {
		err := k.reader.Bury(ctx, d, reason, cause)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			k.unsent = true // whoever reads it next gives it up
			return ctx.Err()
		}
		k.Log.Warn("dead letter cannot be kept", "error", err)
		select {
		case <-time.After(idle):
		case <-ctx.Done():
		}
	}
}

// flush hands on what has changed, unless the last owner of a shard may have handed on some of it: then it waits until all of
// that is read, so that what is handed on is what comes after.
func (k *Keeper) flush(ctx context.Context) {
	if k.Deliver == nil || !k.unsent {
		return
	}
	sure := true
	if k.behind > 0 {
		if k.read < k.behind && k.reader != nil && k.reader.Pending() > 0 {
			return
		}
		sure, k.behind = false, 0
	}
	metrics, points := k.State.Flush(sure)
	if points > 0 {
		if err := k.Deliver(ctx, metrics, points); err != nil {
			return // ctx has ended; whoever comes next hands it on
		}
	}
	k.unsent, k.hand = false, 0
	k.due.flush = time.Now().Add(flushEvery)
}

// Look tells how things are, if that is due. Deliver calls it while it cannot hand on.
func (k *Keeper) Look(ctx context.Context) {
	if time.Now().After(k.due.look) {
		k.look(ctx)
	}
}

func (k *Keeper) look(ctx context.Context) {
	k.due.look = time.Now().Add(lookEvery)
	s := Standing{Shards: len(k.owned), Series: k.State.Series(), Age: time.Since(k.kept)}
	if k.reader != nil {
		if pending, err := k.reader.Lag(ctx); err == nil {
			s.Pending = pending + k.hand
		}
		if at, err := k.Bus.Extent(ctx, k.Root.OutStream(k.Destination).Name); err == nil {
			lost := k.lost.Lost(bus.Position{First: at.First, Last: at.Last, Delivered: k.read})
			s.Lost = lost * uint64(len(k.owned)) / subject.Shards //nolint:gosec // not negative
		}
	}
	k.Standing(s)
}
