// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	statev1 "github.com/busbar/busbar/contract/state/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// errLost: another process has taken the shard.
var errLost = errors.New("another exporter has taken the shard")

// errVanished: what was kept is gone. Nobody else can have taken the shard, since that leaves a message.
var errVanished = errors.New("the state of the destination was deleted")

// vault keeps shards on the bus. Each message names the one that it replaces, so whoever has lost a shard cannot overwrite what
// its next owner keeps: that one begins by replacing the message about the shard.
//
// The parts of a checkpoint are written before the message about the shard that vouches for them. A crash in between leaves
// parts that are ahead of it, which say so themselves.
type vault struct {
	bus         *bus.Bus
	root        subject.Root
	destination string
	instance    string
	life        uint64
}

// sealed is what is kept of a shard.
type sealed struct {
	at    *statev1.Shard
	last  uint64        // sequence of the message about the shard
	parts [Parts]uint64 // sequences of the messages with its parts; 0 for one that was not written
	fresh bool          // nothing was kept that means anything in this stream
}

// parallel is how many parts are read or written at a time.
const parallel = 8

func (v *vault) stream() string { return v.root.StateStream(v.destination).Name }

// open takes a shard over, whoever had it, and returns what was kept of it, made being when the stream of the destination was made.
func (v *vault) open(ctx context.Context, shard int, made time.Time) (*sealed, [Parts][]byte, error) {
	var parts [Parts][]byte
	s, err := v.read(ctx, shard)
	if err != nil {
		return nil, parts, err
	}
	stream := uint64(made.UnixNano())          //nolint:gosec // after 1970
	anew := s.at.GetStreamUnixNano() != stream // its positions mean nothing in this stream
	if anew {
		s.at.Position, s.at.Horizon, s.at.Ids, s.at.Sequences = 0, 0, nil, nil
	}
	s.at.StreamUnixNano, s.fresh = stream, anew
	known := s.last > 0
	if err := v.seal(ctx, shard, s, s.at); err != nil { // from here on the last owner cannot
		return nil, parts, err
	}
	if !known {
		return s, parts, nil
	}
	var g errgroup.Group
	g.SetLimit(parallel)
	for i := range parts {
		g.Go(func() error {
			d, ok, err := v.bus.Last(ctx, v.stream(), v.root.SeriesState(v.destination, shard, i))
			if err != nil || !ok {
				return err
			}
			s.parts[i] = d.Sequence
			parts[i], err = d.Data()
			if err == nil && anew {
				parts[i], err = withoutPosition(parts[i])
			}
			return err
		})
	}
	return s, parts, g.Wait()
}

func withoutPosition(data []byte) ([]byte, error) {
	p := new(statev1.Part)
	if err := p.UnmarshalVT(data); err != nil {
		return nil, err
	}
	p.Position = 0
	return p.MarshalVT()
}

// read returns what is known about a shard.
func (v *vault) read(ctx context.Context, shard int) (*sealed, error) {
	d, ok, err := v.bus.Last(ctx, v.stream(), v.root.ShardState(v.destination, shard))
	s := &sealed{at: new(statev1.Shard)}
	if err != nil || !ok {
		return s, err
	}
	s.last = d.Sequence
	data, err := d.Data()
	if err == nil {
		err = s.at.UnmarshalVT(data)
	}
	if err != nil {
		return nil, fmt.Errorf("read state of shard %d: %w", shard, err)
	}
	return s, nil
}

// seal writes the message about a shard, as this owner's.
func (v *vault) seal(ctx context.Context, shard int, s *sealed, at *statev1.Shard) error {
	at.Owner, at.Life = v.instance, v.life
	data, err := at.MarshalVT()
	if err != nil {
		return err
	}
	to := v.root.ShardState(v.destination, shard)
	last, err := v.put(ctx, to, subject.SchemaShard, data, s.last)
	if errors.Is(err, bus.ErrConflict) {
		// It may be our own, stored although we were told of an error.
		now, readErr := v.read(ctx, shard)
		if readErr != nil {
			return readErr
		}
		if !v.owns(now) {
			return errLost
		}
		s.last = now.last
		last, err = v.put(ctx, to, subject.SchemaShard, data, s.last)
	}
	if err != nil {
		return err
	}
	s.last, s.at = last, at
	return nil
}

// owns tells whether a shard is still this owner's. Whoever takes it leaves a message, so one without a message is.
func (v *vault) owns(s *sealed) bool {
	return s.last == 0 || s.at.GetOwner() == v.instance && s.at.GetLife() == v.life
}

// keep writes a part of a shard.
func (v *vault) keep(ctx context.Context, shard, part int, s *sealed, data []byte) error {
	to := v.root.SeriesState(v.destination, shard, part)
	last, err := v.put(ctx, to, subject.SchemaPart, data, s.parts[part])
	if errors.Is(err, bus.ErrConflict) {
		// The last owner may have written it while it did not know yet. That is no reason to give up a shard that is ours.
		now, readErr := v.read(ctx, shard)
		if readErr != nil {
			return readErr
		}
		if !v.owns(now) {
			return errLost
		}
		d, ok, readErr := v.bus.Last(ctx, v.stream(), to)
		if readErr != nil {
			return readErr
		}
		s.parts[part] = 0
		if ok {
			s.parts[part] = d.Sequence
		}
		last, err = v.put(ctx, to, subject.SchemaPart, data, s.parts[part])
	}
	if err == nil {
		s.parts[part] = last
	}
	return err
}

// put replaces a message. The error is errVanished when there is none any more.
func (v *vault) put(ctx context.Context, to, schema string, data []byte, last uint64) (uint64, error) {
	msg := bus.Msg{Subject: to, Header: map[string]string{subject.HeaderSchema: schema}, Data: data}
	sequence, err := v.bus.Put(ctx, msg, last)
	if errors.Is(err, bus.ErrConflict) && last > 0 {
		if _, ok, lookErr := v.bus.Last(ctx, v.stream(), to); lookErr == nil && !ok {
			return 0, errVanished
		}
	}
	return sequence, err
}
