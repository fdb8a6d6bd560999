// SPDX-License-Identifier: Apache-2.0

// Package learned keeps on the bus what enrichers learn about routes, so that every one of them has the same knowledge, also one that starts.
//
// There is one message for each side of a service. Whoever has learned something joins it with what is stored and replaces that, on
// condition that nobody else has meanwhile; all others read it and join it with theirs. Since shapes can be joined in any order with the
// same outcome, nobody decides and nobody waits: an enricher goes on with what it knows, and what it lacks arrives.
package learned

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	routev1 "github.com/busbar/busbar/contract/route/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

const (
	// saveEvery is how long changes are gathered.
	saveEvery = 100 * time.Millisecond
	// saveTimeout bounds one attempt to save a service; what could not be saved is tried again.
	saveTimeout = 5 * time.Second
	// conflicts is how often saving is tried when others write at the same time.
	conflicts = 10
	// renewEvery is how often it is looked for shapes in use that were not stored for renewAfter: the stream forgets those that nobody writes.
	renewEvery, renewAfter = time.Hour, 24 * time.Hour
	// firstLook is how long the stream may take to answer at the start before it is asked again.
	firstLook = time.Second
	// farewell bounds the last saving.
	farewell = 2 * time.Second
)

// Keeper shares what Routes learn. Fill in the fields before Run.
type Keeper struct {
	Bus    *bus.Bus
	Root   subject.Root
	Routes *route.Routes
	Source string // who writes, for the header
	Log    *slog.Logger

	saving atomic.Int64  // services being saved
	read   atomic.Uint64 // sequence of the newest message that was joined
}

// Unsaved is how many services have something that is not stored.
func (k *Keeper) Unsaved() int { return k.Routes.Unsaved() + int(k.saving.Load()) }

// Sequence is that of the newest message that was read.
func (k *Keeper) Sequence() uint64 { return k.read.Load() }

// Run reads and saves until ctx ends; then it saves once more and returns nil. Caught is called once, when all that was stored has been read. It
// returns an error when the bus is closed.
func (k *Keeper) Run(ctx context.Context, caught func()) error {
	var group run.Group
	group.Add("read", func(ctx context.Context) error { return k.follow(ctx, caught) })
	group.Add("save", k.save)
	return group.Run(ctx)
}

// follow joins what others store. Of a stream that was made anew nothing is left, so all that is known is saved again.
func (k *Keeper) follow(ctx context.Context, caught func()) error {
	for ctx.Err() == nil {
		r := k.Bus.Read(bus.ReaderSpec{Stream: k.Root.RouteStream().Name})
		err := k.followReader(ctx, r, &caught)
		r.Close()
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, bus.ErrAnew):
			k.Routes.SetChanged(k.Routes.All()...)
		default:
			return fmt.Errorf("read learned routes: %w", err)
		}
	}
	return nil
}

func (k *Keeper) followReader(ctx context.Context, r *bus.Reader, caught *func()) error {
	if err := k.begin(ctx, r); err != nil {
		return err
	}
	for {
		if *caught != nil && r.CaughtUp() {
			(*caught)()
			*caught = nil
		}
		batch, err := r.Next(ctx)
		if err != nil {
			return err
		}
		for _, d := range batch {
			if shape := k.decode(d); shape != nil {
				k.Routes.Join(shape, d.Time)
			}
			k.read.Store(d.Sequence)
		}
	}
}

// begin opens the stream, however long that takes.
func (k *Keeper) begin(ctx context.Context, r *bus.Reader) error {
	for {
		err := r.Begin(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		k.Log.Debug("learned routes cannot be read yet", slog.Any("error", err))
		select {
		case <-time.After(firstLook):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// decode returns what a message has. One that cannot be read is as good as none: whoever knows the service replaces it.
func (k *Keeper) decode(d *bus.Delivery) *routev1.Shape {
	shape := new(routev1.Shape)
	data, err := d.Data()
	if err == nil {
		err = shape.UnmarshalVT(data)
	}
	if err == nil && k.subject(shape.GetNamespace(), shape.GetService(), sideOf(shape)) != d.Subject {
		err = errors.New("it is about another service than its subject says")
	}
	if err != nil {
		k.Log.Warn("learned routes of a service cannot be read", slog.String("subject", d.Subject),
			slog.Uint64("sequence", d.Sequence), slog.Any("error", err))
		return nil
	}
	return shape
}

func sideOf(shape *routev1.Shape) route.Side {
	if shape.GetSide() == routev1.Side_SIDE_CLIENT {
		return route.Client
	}
	return route.Server
}

func (k *Keeper) subject(namespace, service string, side route.Side) string {
	return k.Root.Route(string(side), service, subject.ServiceHash(namespace, service))
}

// save stores what changes, and now and then what is in use and has not for long.
func (k *Keeper) save(ctx context.Context) error {
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	for ctx.Err() == nil {
		select {
		case <-k.Routes.Changed():
			k.saveChanged(ctx)
			select { // until more has come together
			case <-time.After(saveEvery):
			case <-ctx.Done():
			}
		case <-renew.C:
			k.renew(ctx, time.Now().Add(-renewAfter))
		case <-ctx.Done():
		}
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	k.saveChanged(bye)
	return nil
}

// renew stores anew what is in use and was last stored before some time.
func (k *Keeper) renew(ctx context.Context, before time.Time) {
	for _, s := range k.Routes.Stale(before) {
		k.saveService(ctx, s, true)
	}
}

func (k *Keeper) saveChanged(ctx context.Context) {
	services := k.Routes.TakeChanged(func(n int) { k.saving.Store(int64(n)) })
	for _, s := range services {
		k.saveService(ctx, s, false)
		k.saving.Add(-1)
	}
}

// saveService stores what is known about a service, or has that tried again.
func (k *Keeper) saveService(ctx context.Context, s *route.Service, anyway bool) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	err := bus.ErrConflict
	for n := 0; n < conflicts && errors.Is(err, bus.ErrConflict); n++ {
		err = k.replace(ctx, s, anyway)
	}
	if err != nil {
		k.Log.Debug("learned routes cannot be saved now", slog.String("service", s.Name()), slog.Any("error", err))
		k.Routes.SetChanged(s)
	}
}

// replace joins what is stored about a service, and stores the outcome in its place unless that is the same.
func (k *Keeper) replace(ctx context.Context, s *route.Service, anyway bool) error {
	to := k.subject(s.Namespace(), s.Name(), s.Side())
	last, ok, err := k.Bus.Last(ctx, k.Root.RouteStream().Name, to)
	if err != nil {
		return err
	}
	sequence := uint64(0)
	if ok {
		sequence = last.Sequence
		if shape := k.decode(last); shape != nil && !s.Join(shape, last.Time) && !anyway {
			return nil
		}
	}
	data, err := s.Pack().MarshalVT()
	if err != nil {
		return err
	}
	header := map[string]string{subject.HeaderSchema: subject.SchemaShape, subject.HeaderSource: k.Source}
	if _, err = k.Bus.Put(ctx, bus.Msg{Subject: to, Header: header, Data: data}, sequence); err == nil {
		s.Stored(time.Now())
	}
	return err
}
