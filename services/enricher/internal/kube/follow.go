// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

const (
	// silence is how long the bus may have nothing to say before the directory is read anew: a watcher speaks every few seconds, and what it
	// removed meanwhile has left no trace.
	silence = Keep / 3
	// tidyEvery is how often what ended long ago is looked for.
	tidyEvery = 30 * time.Second
	// firstLook is how long the stream may take to answer at the start of a reading before it is asked again.
	firstLook = time.Second
)

// Follow keeps the directory as the bus has it until ctx ends; then it returns nil. Caught is called once, when all that was on the bus has
// been read. It returns an error when the bus is closed.
func (d *Directory) Follow(ctx context.Context, b *bus.Bus, root subject.Root, log *slog.Logger, caught func()) error {
	f := follower{directory: d, root: root, log: log, caught: caught}
	spec := bus.ReaderSpec{Stream: root.KubeStream().Name, Filters: []string{root.KubeWatcher()}}
	for _, kind := range Kinds() {
		spec.Filters = append(spec.Filters, root.KubeAll(string(kind)))
	}
	for ctx.Err() == nil {
		r := b.Read(spec)
		err := f.read(ctx, r)
		r.Close()
		if err != nil && ctx.Err() == nil && !errors.Is(err, bus.ErrAnew) {
			return fmt.Errorf("follow the cluster: %w", err)
		}
	}
	return nil
}

// follower is one who reads the directory from the bus.
type follower struct {
	directory *Directory
	root      subject.Root
	log       *slog.Logger
	caught    func()

	generation uint64
}

// read reads the stream from its beginning, and follows it for as long as nothing can have been missed.
func (f *follower) read(ctx context.Context, r *bus.Reader) error {
	f.generation++
	f.directory.read(f.generation)
	if err := f.begin(ctx, r); err != nil {
		return err
	}
	swept, heard := false, time.Now()
	for {
		if !swept && r.CaughtUp() {
			swept = true
			f.directory.sweep(f.generation)
			if f.caught != nil {
				f.caught()
				f.caught = nil
			}
		}
		batch, err := f.next(ctx, r)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, delivery := range batch {
			f.take(delivery, now)
		}
		f.directory.expire(now)
		if len(batch) == 0 {
			continue
		}
		if now.Sub(heard) > silence {
			return nil
		}
		heard = now
	}
}

// begin opens the stream, however long that takes.
func (f *follower) begin(ctx context.Context, r *bus.Reader) error {
	for {
		err := r.Begin(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		f.log.Debug("the cluster cannot be read from the bus yet", "error", err)
		select {
		case <-time.After(firstLook):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next waits for messages, but not for ever.
func (f *follower) next(ctx context.Context, r *bus.Reader) ([]*bus.Delivery, error) {
	wait, cancel := context.WithTimeout(ctx, tidyEvery)
	defer cancel()
	batch, err := r.Next(wait)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return nil, nil
	}
	return batch, err
}

// take takes in a message. One that cannot be read is as good as none.
func (f *follower) take(delivery *bus.Delivery, now time.Time) {
	if err := f.apply(delivery, now); err != nil {
		f.log.Warn("message about the cluster cannot be read", "subject", delivery.Subject, "sequence", delivery.Sequence, "error", err)
	}
}

func (f *follower) apply(delivery *bus.Delivery, now time.Time) error {
	data, err := delivery.Data()
	if err != nil {
		return err
	}
	if delivery.Subject == f.root.KubeWatcher() {
		w := new(kubev1.Watcher)
		if err := w.UnmarshalVT(data); err != nil {
			return err
		}
		f.directory.hear(w, delivery.Sequence, now)
		return nil
	}
	kind, _, _ := strings.Cut(strings.TrimPrefix(delivery.Subject, string(f.root)+".kube."), ".")
	m := newMessage(Kind(kind))
	if m == nil {
		return fmt.Errorf("kind %.32q is unknown", kind)
	}
	if err := m.UnmarshalVT(data); err != nil {
		return err
	}
	if m.GetUid() == "" {
		return errors.New("it has no uid")
	}
	f.directory.put(Kind(kind), m, delivery.Sequence, f.generation, now)
	return nil
}
