// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// StreamSpec describes a stream. Streams are kept in files and by limits, never as a work queue, so that anyone may add a
// consumer or read a window again without disturbing the rest.
type StreamSpec struct {
	Name       string
	Subjects   []string
	MaxBytes   int64         // zero: no limit but the server's
	MaxAge     time.Duration // zero: no limit
	Duplicates time.Duration // window in which an ID is stored once; zero: two minutes, at most MaxAge
	Replicas   int           // at least; zero: one
	DiscardNew bool          // when full, refuse new messages with ErrFull instead of dropping the oldest
	// Metadata takes the place of what a stream has under keys that begin with "busbar."; nil leaves it.
	Metadata map[string]string
	// Given has MaxBytes and MaxAge put in force. Otherwise they are for a stream that is made, and one that exists keeps its own.
	Given      bool
	PerSubject int64 // messages kept on one subject, the newest; zero: no limit. Such a stream is state: see [Bus.Put]
}

// metaPrefix begins the keys of metadata that are ours.
const metaPrefix = "busbar."

const (
	defaultDuplicates = 2 * time.Minute
	apiTimeout        = 5 * time.Second // of one JetStream request
	repairPause       = time.Second     // between two repairs
)

// provisioner remembers what was provisioned, to make it anew when it vanishes.
type provisioner struct {
	mu        sync.Mutex
	specs     map[string]StreamSpec
	repairing bool
}

// Provision creates the streams, or changes them to be as specified, and leaves alone what a spec does not tell. Many services may do so at the same time. It repeats
// what fails for a passing reason until ctx ends, at least once and for about five seconds or Config.Wait. A stream that
// someone deletes later is made anew when a publication or a consumer misses it.
func (b *Bus) Provision(ctx context.Context, specs ...StreamSpec) error {
	deadline := time.Now().Add(max(b.wait, apiTimeout))
	for _, spec := range specs {
		spec.Replicas = max(spec.Replicas, b.copies)
		if err := b.provision(ctx, spec, deadline); err != nil {
			return fmt.Errorf("provision stream %s: %w", spec.Name, err)
		}
		b.streams.mu.Lock()
		if b.streams.specs == nil {
			b.streams.specs = make(map[string]StreamSpec)
		}
		b.streams.specs[spec.Name] = spec
		b.streams.mu.Unlock()
	}
	return nil
}

func (b *Bus) provision(ctx context.Context, spec StreamSpec, deadline time.Time) error {
	for attempt := 0; ; attempt++ {
		err := b.ensureStream(ctx, spec)
		if err == nil || ctx.Err() != nil || !retryable(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(backoff(attempt, firstRetry, lastRetry)):
		case <-ctx.Done():
			return err
		}
	}
}

// ensureStream makes one attempt. It looks before it creates, so two services may both create: the one that comes second
// with different settings is told that the name is in use, and finds the stream at its next attempt.
func (b *Bus) ensureStream(ctx context.Context, spec StreamSpec) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	stream, err := b.js.Stream(ctx, spec.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = b.js.CreateStream(ctx, spec.config(jetstream.StreamConfig{}))
		return err
	}
	if err != nil {
		return err
	}
	has := stream.CachedInfo().Config
	if has.Sealed {
		return errors.New("it is sealed, to be removed")
	}
	if want := spec.config(has); !reflect.DeepEqual(want, has) {
		_, err = b.js.UpdateStream(ctx, want)
	}
	return err
}

// config is what a stream with the settings cfg is to have. What a spec does not tell, such as placement and compression, stays
// as whoever runs NATS has set it, and so do more replicas than it asks for.
func (s StreamSpec) config(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	made := cfg.Name == ""
	cfg.Name, cfg.Subjects = s.Name, s.Subjects
	cfg.Retention, cfg.Storage = jetstream.LimitsPolicy, jetstream.FileStorage
	cfg.AllowDirect = s.PerSubject == 0 // a replica that lags would answer with state that is no more
	if cfg.MaxMsgsPerSubject = s.PerSubject; s.PerSubject == 0 {
		cfg.MaxMsgsPerSubject = -1
	}
	cfg.Replicas = max(cfg.Replicas, s.Replicas, 1)
	if made || s.Given {
		cfg.MaxAge, cfg.MaxBytes = s.MaxAge, s.MaxBytes
		if s.MaxBytes == 0 {
			cfg.MaxBytes = -1
		}
	}
	cfg.Metadata = s.metadata(cfg.Metadata)
	if cfg.Duplicates = s.Duplicates; cfg.Duplicates == 0 {
		cfg.Duplicates = defaultDuplicates
	}
	if cfg.MaxAge > 0 {
		cfg.Duplicates = min(cfg.Duplicates, cfg.MaxAge)
	}
	cfg.Discard = jetstream.DiscardOld
	if s.DiscardNew {
		cfg.Discard = jetstream.DiscardNew
	}
	return cfg
}

// metadata is what a stream with some metadata is to have.
func (s StreamSpec) metadata(has map[string]string) map[string]string {
	if s.Metadata == nil {
		return has
	}
	want := maps.Clone(s.Metadata)
	for key, value := range has {
		if !strings.HasPrefix(key, metaPrefix) {
			want[key] = value
		}
	}
	return want
}

// retryable tells whether an attempt at the JetStream API may succeed later.
func retryable(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		if full := classify(api); errors.Is(full, ErrFull) {
			return false
		}
		return passing(api) || api.ErrorCode == jetstream.JSErrCodeStreamNameInUse
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrDisconnected) || errors.Is(err, jetstream.ErrJetStreamNotEnabled)
}

// repair makes the streams anew that were provisioned and are missing now.
func (b *Bus) repair(ctx context.Context) error {
	b.streams.mu.Lock()
	specs := slices.Collect(maps.Values(b.streams.specs))
	b.streams.mu.Unlock()
	for _, spec := range specs {
		lookCtx, cancel := context.WithTimeout(ctx, apiTimeout)
		_, err := b.js.Stream(lookCtx, spec.Name)
		cancel()
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			continue // it is there, or its fate is unknown
		}
		b.log.Warn("stream is missing and is made anew", "stream", spec.Name)
		if err := b.ensureStream(ctx, spec); err != nil {
			return fmt.Errorf("provision stream %s: %w", spec.Name, err)
		}
	}
	return nil
}

// repairSoon has a repair run in the background, unless one is running or has just run.
func (b *Bus) repairSoon() {
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	if b.streams.repairing || len(b.streams.specs) == 0 {
		return
	}
	b.streams.repairing = true
	b.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
		defer cancel()
		if err := b.repair(ctx); err != nil {
			b.log.Warn("repair of streams failed", "error", err)
		}
		select {
		case <-time.After(repairPause):
		case <-b.closed:
		}
		b.streams.mu.Lock()
		b.streams.repairing = false
		b.streams.mu.Unlock()
	})
}
