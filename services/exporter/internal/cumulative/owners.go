// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	statev1 "github.com/busbar/busbar/contract/state/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

const (
	// beatEvery is how often a member says that it lives.
	beatEvery = time.Second
	// silence is how long the others wait for the next beat before they share out what it has.
	silence = 3 * time.Second
	// conflicts is how often one beat is tried when others write the table at the same time.
	conflicts = 10
)

// owners agrees with the other exporters of a destination on who owns which shard, by one message that each replaces in turn.
// Nobody's clock counts: a member is gone when its beat has not moved for a while by the clock of whoever looks. The table
// shares out work; that two who believe to own a shard do no harm is what checkpoints are fenced for. It is used by one
// goroutine at a time.
type owners struct {
	bus      *bus.Bus
	stream   string
	subject  string
	instance string
	life     uint64 // differs between two lives of the instance
	log      *slog.Logger
	vanished func() // called when the table is gone that this member was in: the stream was made anew

	last   uint64 // sequence of the table
	table  *statev1.Owners
	heard  map[string]heard
	joined bool
	beaten time.Time    // when the table was last looked at or written
	let    map[int]bool // shards that were let go of and are still ours in the table
}

// heard is what was last heard of a member.
type heard struct {
	life, beat uint64
	at         time.Time
}

// beat says that this member lives, shares out the shards of those that do not, and returns which shards this one is to have: it may have
// to let go of some first. An error says that the bus is away; then all stays as it was.
func (o *owners) beat(ctx context.Context) (want []int, err error) {
	for range conflicts {
		if o.table == nil {
			if err := o.look(ctx); err != nil {
				return nil, err
			}
		}
		table, want, present := o.next(time.Now())
		if !present {
			o.table = nil // look again next time
			return nil, nil
		}
		err := o.put(ctx, table)
		if err == nil {
			return want, nil
		}
		o.table = nil
		if !errors.Is(err, bus.ErrConflict) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("agree on shards: %w", bus.ErrConflict)
}

// look reads the table.
func (o *owners) look(ctx context.Context) error {
	d, ok, err := o.bus.Last(ctx, o.stream, o.subject)
	if err != nil {
		return err
	}
	o.table, o.last = new(statev1.Owners), 0
	if !ok {
		if o.joined {
			o.vanished()
		}
		return nil
	}
	o.last = d.Sequence
	data, err := d.Data()
	if err == nil {
		err = o.table.UnmarshalVT(data)
	}
	if err != nil { // nobody can read it, so nobody owns anything
		o.log.Warn("table of owners cannot be read, it begins anew", "error", err)
		o.table = new(statev1.Owners)
	}
	return nil
}

func (o *owners) put(ctx context.Context, table *statev1.Owners) error {
	data, err := table.MarshalVT()
	if err != nil {
		return err
	}
	sequence, err := o.bus.Put(ctx, bus.Msg{
		Subject: o.subject, Header: map[string]string{subject.HeaderSchema: subject.SchemaOwners}, Data: data,
	}, o.last)
	if err != nil {
		return err
	}
	o.table, o.last, o.joined = table, sequence, true
	clear(o.let)
	return nil
}

// next is the table with this member in it and without those that are gone, and what this member is to have. Present is false
// when another life of this instance has taken its place.
func (o *owners) next(now time.Time) (table *statev1.Owners, want []int, present bool) {
	table = &statev1.Owners{Members: maps.Clone(o.table.GetMembers()), Shards: slices.Clone(o.table.GetShards())}
	if table.Members == nil {
		table.Members = make(map[string]*statev1.Member)
	}
	for len(table.Shards) < subject.Shards {
		table.Shards = append(table.Shards, "")
	}
	if now.Sub(o.beaten) > silence { // the bus was away, for the others too, or this process stood still
		clear(o.heard)
	}
	o.beaten = now
	for name, m := range table.GetMembers() {
		h, known := o.heard[name]
		if !known || h.life != m.GetLife() || h.beat != m.GetBeat() {
			o.heard[name] = heard{m.GetLife(), m.GetBeat(), now}
		} else if now.Sub(h.at) > silence {
			o.log.Info("an exporter of the destination is gone", "instance", name)
			delete(table.Members, name)
			delete(o.heard, name)
		}
	}
	me := table.GetMembers()[o.instance]
	if o.joined && me != nil && me.GetLife() != o.life {
		return nil, nil, false
	}
	table.Members[o.instance] = &statev1.Member{Life: o.life, Beat: me.GetBeat() + 1}
	return table, o.share(table), true
}

// share gives this member its share of what is free, and returns what it is to have.
func (o *owners) share(table *statev1.Owners) (want []int) {
	quota := quota(table, o.instance)
	for i, owner := range table.GetShards() {
		if table.Members[owner] == nil || owner == o.instance && o.let[i] {
			table.Shards[i] = ""
		}
		if table.Shards[i] == o.instance && len(want) < quota {
			want = append(want, i)
		}
	}
	for i, owner := range table.GetShards() {
		if owner == "" && !o.let[i] && len(want) < quota {
			table.Shards[i] = o.instance
			want = append(want, i)
		}
	}
	slices.Sort(want)
	return want
}

// quota is how many shards a member should have: the same for all but for what is left over, which the first in the alphabet
// have.
func quota(table *statev1.Owners, instance string) int {
	names := slices.Sorted(maps.Keys(table.GetMembers()))
	share := subject.Shards / len(names)
	if slices.Index(names, instance) < subject.Shards%len(names) {
		share++
	}
	return share
}

// letGo has the next beat give a shard to whoever wants it.
func (o *owners) letGo(shard int) { o.let[shard] = true }

// leave gives everything away at once.
func (o *owners) leave(ctx context.Context) error {
	for range conflicts {
		if o.table == nil {
			if err := o.look(ctx); err != nil {
				return err
			}
		}
		if me := o.table.GetMembers()[o.instance]; me == nil || me.GetLife() != o.life {
			return nil
		}
		table := &statev1.Owners{Members: maps.Clone(o.table.GetMembers()), Shards: slices.Clone(o.table.GetShards())}
		delete(table.Members, o.instance)
		for i, owner := range table.GetShards() {
			if owner == o.instance {
				table.Shards[i] = ""
			}
		}
		err := o.put(ctx, table)
		if !errors.Is(err, bus.ErrConflict) {
			return err
		}
		o.table = nil
	}
	return bus.ErrConflict
}
