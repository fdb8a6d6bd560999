// SPDX-License-Identifier: Apache-2.0

package enricher

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/enricher/internal/kube/watch"
)

// Kube tells whether this enricher may be the one that watches the Kubernetes API. All of them read what the watcher tells.
type Kube struct {
	Mode       string // auto: in a pod that may, or with Kubeconfig; on: or it is an error; off, or empty: never
	Kubeconfig string // path; empty for the service account of this pod
	Cluster    string // name of the cluster; may be empty
}

// Register adds the flags to fs.
func (k *Kube) Register(fs *flag.FlagSet) {
	run.Choice(fs, &k.Mode, "kube", "whether to watch the Kubernetes API; auto: in a pod with a service account, or with --kubeconfig; on: with the usual kubeconfig too", "auto", "on", "off")
	fs.StringVar(&k.Kubeconfig, "kubeconfig", "", "`FILE` that says how the Kubernetes API is reached; empty: as a pod is told")
	fs.StringVar(&k.Cluster, "cluster", "", "`NAME` of the Kubernetes cluster, for k8s.cluster.name")
}

// newWatcher returns who may watch; nil when Kubernetes is none of its business.
func (e *enricher) newWatcher() (*watch.Watcher, error) {
	if e.Kube.Mode == "" || e.Kube.Mode == "off" {
		return nil, nil
	}
	api, err := watch.Locate(e.Kube.Kubeconfig, e.Kube.Mode == "on")
	if errors.Is(err, watch.ErrOutside) && e.Kube.Mode == "auto" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the Kubernetes API: %w", err)
	}
	api.UserAgent = "busbar-" + Service + "/" + run.Version()
	return watch.New(watch.Config{
		API: api, Bus: e.bus, Root: e.Root, Directory: e.cluster, Instance: e.Instance, Cluster: e.Kube.Cluster,
		Log: e.Log.With(slog.String("part", "kube")), Metrics: e.Bus.Metrics,
	}), nil
}

// follow keeps at hand what the bus has about the cluster.
func (e *enricher) follow(ctx context.Context) error {
	return e.cluster.Follow(ctx, e.bus, e.Root, e.Log, func() { close(e.known) })
}

// watchCluster watches the Kubernetes API, or waits to.
func (e *enricher) watchCluster(ctx context.Context) error {
	select {
	case <-e.known:
	case <-ctx.Done():
		return nil
	}
	return e.watcher.Run(ctx)
}

// selectContainers tells probes which containers Instrumentation means, while this enricher is the one that watches.
func (e *enricher) selectContainers(ctx context.Context) error {
	for _, first := range []chan struct{}{e.ready, e.known} {
		select {
		case <-first:
		case <-ctx.Done():
			return nil
		}
	}
	p := e.selections
	p.Bus, p.Root, p.Cluster, p.Source, p.Log, p.May = e.bus, e.Root, e.cluster, Service, e.Log, e.watches
	return p.Run(ctx)
}

// watches tells whether this enricher is the one that watches, and has told all that there is.
func (e *enricher) watches() bool {
	at := e.cluster.Lease()
	return at.Watcher != nil && at.GetInstance() == e.Instance && at.GetComplete()
}

// early tells whether a batch is to wait for the pods of its processes. It is not while nobody tells about a cluster.
func (e *enricher) early(d *bus.Delivery, processes []*eventv1.Process) bool {
	if e.watcher == nil && e.cluster.Lease().Watcher == nil {
		return false
	}
	return e.waiting.Wait(processes, d.Sequence, time.Now())
}
