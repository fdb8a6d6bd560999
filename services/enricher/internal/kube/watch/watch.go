// SPDX-License-Identifier: Apache-2.0

// Package watch asks the Kubernetes API about the cluster and tells the bus. Any number of enrichers may run a Watcher: one of them
// watches, the others wait for it to go. So the API has one client, which lists each kind of object once and follows its changes.
package watch

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"k8s.io/client-go/rest"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/enricher/internal/kube"
)

// Config is what a Watcher needs to know.
type Config struct {
	API       *rest.Config
	Bus       *bus.Bus
	Root      subject.Root
	Directory *kube.Directory // that follows the bus
	Instance  string          // unique among the enrichers
	Cluster   string          // name of the cluster, for the names of what it has; may be empty
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// Watcher is one who may watch.
type Watcher struct {
	Config
	metrics *metrics
}

// New returns a Watcher.
func New(cfg Config) *Watcher {
	return &Watcher{Config: cfg, metrics: newMetrics(cfg.Metrics)}
}

// Run watches, or waits to, until ctx ends; then it lets another one take over and returns nil. The directory must have caught up with the bus. It
// returns an error when the API's address or credentials make no sense.
func (w *Watcher) Run(ctx context.Context) error {
	sources, err := sources(w.API)
	if err != nil {
		return err
	}
	tenure := tenure{bus: w.Bus, root: w.Root, directory: w.Directory, log: w.Log, self: &kubev1.Watcher{
		Instance: w.Instance, Life: rand.Uint64(), Cluster: w.Cluster, //nolint:gosec // no secret
	}}
	var now *ongoing
	defer func() {
		now.stop()
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatEvery)
		defer cancel()
		tenure.leave(leave)
	}()
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		tenure.self.Complete = now != nil && now.complete.Load()
		held := tenure.beat(ctx, time.Now())
		switch {
		case held && now == nil:
			now = w.begin(ctx, sources)
		case !held && now != nil:
			w.Log.Info("another enricher watches the Kubernetes API now")
			now.stop()
			now = nil
		}
		w.metrics.watching(held)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// ongoing is a term that runs.
type ongoing struct {
	*term
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func (w *Watcher) begin(ctx context.Context, sources []source) *ongoing {
	o := &ongoing{term: newTerm(w)}
	ctx, o.cancel = context.WithCancel(ctx)
	o.ended.Go(func() { o.run(ctx, sources) })
	return o
}

func (o *ongoing) stop() {
	if o == nil {
		return
	}
	o.cancel()
	o.ended.Wait()
}

// Degraded returns what to tell an operator, nothing when all is well.
func (w *Watcher) Degraded() []string { return w.metrics.degraded() }

// ended is a message about a thing that is no more.
func ended(m kube.Message, now time.Time) kube.Message {
	end := uint64(now.UnixNano()) //nolint:gosec // after 1970
	switch m := proto.Clone(m).(type) {
	case *kubev1.Pod:
		m.EndUnixNano = end
		return m
	case *kubev1.Service:
		m.EndUnixNano = end
		return m
	case *kubev1.Node:
		m.EndUnixNano = end
		return m
	}
	return m
}
