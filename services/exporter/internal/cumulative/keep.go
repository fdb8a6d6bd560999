// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

// checkpoint keeps what has changed.
func (k *Keeper) checkpoint(ctx context.Context, lets chan<- int) {
	good := true
	k.advance()
	for shard, s := range k.owned {
		good = k.checkpointShard(ctx, shard, s, lets, false) && good
	}
	if good {
		k.kept = time.Now()
	}
}

// checkpointShard keeps a shard, and forgets one that is another's by now. At the last one the horizon is closed.
func (k *Keeper) checkpointShard(ctx context.Context, shard int, s *ownedShard, lets chan<- int, last bool) bool {
	err := k.keep(ctx, shard, s, last)
	switch {
	case err == nil:
		return true
	case errors.Is(err, errVanished):
		k.gone.Store(true)
		if last {
			k.gone.Store(false)
			k.renew()
			return k.keep(ctx, shard, s, last) == nil
		}
	case errors.Is(err, errLost):
		k.Log.Info("shard is another exporter's now", "shard", shard)
		if !last {
			k.forget(shard, lets)
			k.begin()
		}
	case ctx.Err() == nil:
		k.Log.Warn("state cannot be kept now", "shard", shard, "error", err)
	}
	return false
}

func (k *Keeper) keep(ctx context.Context, shard int, s *ownedShard, last bool) error {
	at := k.State.Position(shard)
	at.StreamUnixNano = s.sealed.at.GetStreamUnixNano()
	at.Horizon = max(s.horizon, at.GetPosition())
	if last || k.Deliver == nil {
		at.Horizon = at.GetPosition()
	}
	dirty := k.State.Dirty(shard)
	opens := at.GetHorizon() > s.sealed.at.GetHorizon() && s.horizon > 0
	far := at.GetPosition() > s.sealed.at.GetPosition()+ahead
	if len(dirty) == 0 && !s.moved && !opens && !far && !last { // the last one also shows whether what is kept is still there
		return nil
	}
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, part := range dirty {
		g.Go(func() error { return k.keepPart(ctx, shard, part, s.sealed) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := k.vault.seal(ctx, shard, s.sealed, at); err != nil {
		return err
	}
	s.moved = false
	return nil
}

// renew has everything kept anew, because nothing is kept any more.
func (k *Keeper) renew() {
	k.Log.Warn("the state of the destination was deleted, it is kept anew")
	for shard, s := range k.owned {
		s.sealed.last, s.sealed.parts, s.moved = 0, [Parts]uint64{}, true
		k.State.Soil(shard)
	}
}

func (k *Keeper) keepPart(ctx context.Context, shard, part int, s *sealed) error {
	data, err := k.State.Pack(shard, part)
	if err == nil {
		err = k.vault.keep(ctx, shard, part, s, data)
	}
	if err == nil {
		k.State.Kept(shard, part)
	}
	return err
}

// end keeps everything and lets go of it.
func (k *Keeper) end(lets chan<- int) {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if k.reader != nil {
		k.reader.Close()
	}
	for shard, s := range k.owned {
		if !k.unsent {
			_ = k.checkpointShard(ctx, shard, s, lets, true)
		}
		k.State.Disown(shard)
		delete(k.owned, shard)
	}
	close(lets)
}
