// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/protobuf/proto"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/enricher/internal/kube"
)

const (
	// writers is how many messages are written at a time.
	writers = 8
	// passEvery is how often the bus is compared with the API as a whole: another one may have written what is old.
	passEvery = 30 * time.Second
	// retryPass is when that is done again after something went wrong.
	retryPass = 2 * time.Second
	// spareWait is how long the first pass waits for what names are right without.
	spareWait = 10 * time.Second
	// late is how long what has ended stays on the bus: who starts then learns of it. It is known for longer to whoever has read it.
	late = kube.Keep * 6 / 10
)

// term is the time in which one enricher watches: it has the API's objects, and makes the bus tell the same.
type term struct {
	bus       *bus.Bus
	root      subject.Root
	directory *kube.Directory
	log       *slog.Logger
	metrics   *metrics

	cluster  *cluster
	queue    workqueue.TypedRateLimitingInterface[kube.Key]
	complete atomic.Bool // all that the API has is on the bus
}

func newTerm(w *Watcher) *term {
	t := &term{bus: w.Bus, root: w.Root, directory: w.Directory, log: w.Log, metrics: w.metrics}
	t.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[kube.Key](100*time.Millisecond, 10*time.Second))
	t.cluster = newCluster(t.queue.Add)
	return t
}

// run watches until ctx ends.
func (t *term) run(ctx context.Context, sources []source) {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, t.queue.ShutDown)
	stores := make([]*store, len(sources))
	logs := klog.NewContext(ctx, logr.FromSlogHandler(t.log.Handler()))
	for i, s := range sources {
		stores[i] = newStore(t.cluster)
		reflector := cache.NewReflectorWithOptions(s.counted(t.metrics.request), s.object, stores[i], cache.ReflectorOptions{Name: s.resource})
		group.Go(func() { reflector.RunWithContext(logs) })
	}
	if !synced(ctx, sources, stores) {
		return
	}
	t.log.Info("this enricher watches the Kubernetes API", "things", len(t.cluster.keys()))
	reading := t.directory.Reading()
	done := t.pass(ctx) // before what has changed since is written: most of that is the same
	for range writers {
		group.Go(func() { t.write(ctx) })
	}
	t.passes(ctx, reading, done)
}

// synced waits until all that matters has been listed; false when ctx ends before.
func synced(ctx context.Context, sources []source, stores []*store) bool {
	spare := time.NewTimer(spareWait)
	defer spare.Stop()
	var expired <-chan time.Time
	for _, optional := range []bool{false, true} {
		if optional {
			expired = spare.C
		}
		for i, s := range sources {
			if s.spare != optional {
				continue
			}
			select {
			case <-stores[i].synced:
			case <-expired:
				return true
			case <-ctx.Done():
				return false
			}
		}
	}
	return true
}

// passes compares the bus with the API as a whole, now and then, and when the bus was read anew since the reading of the last time that it was done.
func (t *term) passes(ctx context.Context, reading uint64, done bool) {
	tick := time.NewTicker(retryPass)
	defer tick.Stop()
	for last := time.Now(); ; {
		if done {
			t.complete.Store(true)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if now := t.directory.Reading(); !done || now != reading || time.Since(last) > passEvery {
			done, last, reading = t.pass(ctx), time.Now(), now
		}
	}
}

// pass makes the bus tell what the API does, and tells whether it does now.
func (t *term) pass(ctx context.Context) bool {
	keys := make(chan kube.Key)
	var failed atomic.Bool
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for key := range keys {
				if err := t.reconcile(ctx, key); err != nil {
					failed.Store(true)
				}
			}
		})
	}
	entries := t.directory.Entries()
	for _, key := range t.cluster.keys() {
		delete(entries, key)
		keys <- key
	}
	for key := range entries {
		keys <- key
	}
	close(keys)
	group.Wait()
	return !failed.Load() && ctx.Err() == nil
}

// write has the bus follow what changes.
func (t *term) write(ctx context.Context) {
	for {
		key, shut := t.queue.Get()
		if shut {
			return
		}
		err := t.reconcile(ctx, key)
		if err == nil {
			t.queue.Forget(key)
		} else {
			t.queue.AddRateLimited(key)
		}
		t.queue.Done(key)
	}
}

// reconcile makes the bus tell of a thing what the API does. A message is written only in place of the one that is known here, so one who
// does not watch any more overwrites nothing that its successor wrote; what it wrote before that is seen by the next pass.
func (t *term) reconcile(ctx context.Context, key kube.Key) error {
	want, now := t.cluster.want(key), time.Now()
	have, known := t.directory.Entry(key)
	switch {
	case known && over(have.Message) && (want == nil || over(want)):
		if have.Sequence != 0 && have.Expires.Sub(now) < kube.Keep-late {
			return t.remove(ctx, key, have)
		}
		return nil
	case want == nil && !known:
		return nil
	case want == nil:
		return t.put(ctx, key, ended(have.Message, now), have.Sequence)
	case !known && over(want) && now.Sub(time.Unix(0, int64(want.GetEndUnixNano()))) > late: //nolint:gosec // a time
		return nil // the API keeps what ended for longer than anybody asks for it
	case known && proto.Equal(want, have.Message):
		return nil
	}
	return t.put(ctx, key, want, have.Sequence)
}

// over tells whether a thing has ended.
func over(m kube.Message) bool { return m.GetEndUnixNano() != 0 }

// put writes a message in place of the one at sequence last.
func (t *term) put(ctx context.Context, key kube.Key, m kube.Message, last uint64) error {
	data, err := m.MarshalVT()
	if err != nil {
		return err
	}
	sequence, err := t.bus.Put(ctx, bus.Msg{
		Subject: t.root.Kube(string(key.Kind), key.UID), Header: map[string]string{subject.HeaderSchema: payload(key.Kind)}, Data: data,
	}, last)
	switch {
	case errors.Is(err, bus.ErrConflict):
		t.metrics.conflicts.Inc() // the directory is behind, or another one watches
	case err != nil:
		t.log.Debug("the cluster cannot be written to the bus", "kind", key.Kind, "uid", key.UID, "error", err)
	default:
		t.metrics.writes.WithLabelValues(string(key.Kind)).Inc()
		t.directory.Learn(key.Kind, m, sequence)
	}
	return err
}

// remove takes off the bus what ended a while ago.
func (t *term) remove(ctx context.Context, key kube.Key, e kube.Entry) error {
	if err := t.bus.Purge(ctx, t.root.KubeStream().Name, t.root.Kube(string(key.Kind), key.UID), e.Sequence); err != nil {
		return err
	}
	t.directory.Removed(key)
	return nil
}

// payload is the schema of the message about a thing of a kind.
func payload(kind kube.Kind) string {
	switch kind {
	case kube.KindPod:
		return subject.SchemaPod
	case kube.KindService:
		return subject.SchemaService
	case kube.KindNode:
	}
	return subject.SchemaNode
}
