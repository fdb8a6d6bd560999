// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"context"
	"slices"
	"strconv"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// ownedShard is a shard of this process.
type ownedShard struct {
	sealed  *sealed
	horizon uint64 // sequence up to which messages may be handed on before the next checkpoint
	moved   bool   // a message was added since the last checkpoint
}

// adopt makes the shards that are wanted those that are owned.
func (k *Keeper) adopt(ctx context.Context, want []int, lets chan<- int) {
	changed := len(want) != len(k.owned)
	for _, shard := range want {
		changed = changed || k.owned[shard] == nil
	}
	if !changed {
		return
	}
	k.flush(ctx) // so that shards change hands with all that was read of them handed on
	k.advance()
	changed = false
	for shard, s := range k.owned {
		if !slices.Contains(want, shard) {
			k.letGo(ctx, shard, s, lets)
			changed = true
		}
	}
	for _, shard := range want {
		if k.owned[shard] == nil && !k.unsent {
			changed = k.take(ctx, shard) || changed
		}
	}
	if changed {
		k.begin()
		k.look(ctx)
	}
}

// take takes a shard over from whoever had it.
func (k *Keeper) take(ctx context.Context, shard int) bool {
	at, err := k.Bus.Extent(ctx, k.Root.OutStream(k.Destination).Name)
	if err == nil {
		var s *sealed
		var parts [Parts][]byte
		if s, parts, err = k.vault.open(ctx, shard, at.Created); err == nil {
			if s.fresh {
				s.at.Position = max(at.First, 1) - 1
			}
			err = k.State.Restore(shard, s.at, parts)
		}
		if err == nil {
			k.made = at.Created
			k.owned[shard] = &ownedShard{sealed: s, horizon: s.at.GetHorizon()}
			if horizon := min(s.at.GetHorizon(), at.Last); k.Deliver != nil && horizon > s.at.GetPosition() {
				k.behind = max(k.behind, horizon)
			}
			if k.Deliver == nil && at.Last > s.at.GetPosition() {
				k.State.Hide(shard)
				k.unseen = max(k.unseen, at.Last)
			}
			return true
		}
	}
	if ctx.Err() == nil {
		k.Log.Warn("shard cannot be taken over now", "shard", shard, "error", err)
	}
	return false
}

// begin reads from where the shard stands that has come least far.
func (k *Keeper) begin() {
	if k.reader != nil {
		k.reader.Close()
		k.reader = nil
	}
	if !k.unsent {
		k.hand = 0
	}
	if len(k.owned) == 0 {
		return
	}
	first := true
	var after uint64
	var filters []string
	for shard := range k.owned {
		position := k.State.Position(shard).GetPosition()
		if first || position < after {
			after, first = position, false
		}
		filters = append(filters, string(k.Root)+".out."+subject.Token(k.Destination)+".*."+strconv.Itoa(shard))
	}
	if len(k.owned) == subject.Shards {
		filters = []string{string(k.Root) + ".out." + subject.Token(k.Destination) + ".>"}
	}
	k.read = after
	k.reader = k.Bus.Read(bus.ReaderSpec{
		Stream: k.Root.OutStream(k.Destination).Name, Filters: filters, After: after, Created: k.made, As: k.As,
	})
}

// advance moves shards that have no messages along with the others: what there is up to the last one was read.
func (k *Keeper) advance() {
	for shard := range k.owned {
		k.State.Advance(shard, k.read)
	}
}

// restart takes all shards anew.
func (k *Keeper) restart(ctx context.Context, lets chan<- int) {
	want := make([]int, 0, len(k.owned))
	for shard := range k.owned {
		want = append(want, shard)
	}
	k.flush(ctx)
	if ctx.Err() != nil {
		return
	}
	k.checkpoint(ctx, lets)
	for shard := range k.owned {
		k.State.Disown(shard)
		delete(k.owned, shard)
	}
	k.adopt(ctx, want, lets)
}

// letGo keeps a shard for its next owner and forgets it. What was not handed on is not kept: the next owner reads it again.
func (k *Keeper) letGo(ctx context.Context, shard int, s *ownedShard, lets chan<- int) {
	if !k.unsent {
		s.horizon = 0
		k.checkpointShard(ctx, shard, s, lets, true)
	}
	k.forget(shard, lets)
}

func (k *Keeper) forget(shard int, lets chan<- int) {
	if k.owned[shard] != nil {
		delete(k.owned, shard)
		k.State.Disown(shard)
		lets <- shard
	}
}
