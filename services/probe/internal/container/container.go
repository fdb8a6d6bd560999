// SPDX-License-Identifier: Apache-2.0

// Package container finds out what the containers of a node are called, and a few labels of theirs, from the runtimes that started
// them: Docker and Podman by their sockets, containerd by what it keeps on disk for each container.
//
// Runtimes are asked by a goroutine of its own, so nobody waits for them: a question is answered from memory or later. There is one
// question at a time, each has a time limit, and what a runtime does not know is not asked again; a runtime that does not answer is
// asked again after a while. Memory is bounded by the number of containers that are remembered; beyond, the older half is forgotten.
package container

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

const (
	maxKnown   = 4096 // containers remembered, in each of two halves
	maxWaiting = 1024 // questions; more are forgotten and asked again by who still wants to know
	patience   = 2 * time.Second
	askAgain   = 30 * time.Second // after a runtime did not answer

	maxLabels = 16
	maxText   = 255  // bytes of a name, and of the value of a label
	maxBytes  = 1024 // of all labels: they are in every batch, once for each process of the container
)

// errUnknown is what a source says about a container that is not its own.
var errUnknown = errors.New("unknown container")

// source is a container runtime. It returns errUnknown, or why it cannot tell.
type source interface {
	look(ctx context.Context, id string) (*eventv1.Container, error)
}

// Finder knows containers. Of and Answers are for one goroutine, Run for another.
type Finder struct {
	log      *slog.Logger
	disk     source
	runtimes []source
	now      func() time.Time
	asked    chan question
	waiting  atomic.Int64 // questions that have no answer yet

	mu    sync.Mutex // guards what follows
	known [2]map[string]answer
	fresh map[string]*eventv1.Container
}

type question struct {
	id   string
	disk bool // do not ask the runtimes
}

// answer is what is known about a container: that it was asked for, and perhaps what it is.
type answer struct {
	container *eventv1.Container
	again     time.Time // when to ask again; zero: never
}

// New returns a Finder that asks the sockets, of which not all need exist, and reads what containerd keeps below the roots, which are
// file systems of the machine.
func New(sockets, roots []string, log *slog.Logger) *Finder {
	f := &Finder{log: log, disk: bundles(roots), now: time.Now, asked: make(chan question, maxWaiting), known: [2]map[string]answer{{}, {}}}
	for _, path := range sockets {
		f.runtimes = append(f.runtimes, newEngine(path))
	}
	return f
}

// Of returns what is known about a container, and asks for it if nothing is; nil until there is an answer. The pods of Kubernetes
// are named by the cluster, so the runtimes are not asked for what is in their cgroup.
func (f *Finder) Of(id, cgroup string) *eventv1.Container {
	if f == nil || !isID(id) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.lookup(id)
	if ok && (a.again.IsZero() || f.now().Before(a.again)) {
		return a.container
	}
	select {
	case f.asked <- question{id, strings.Contains(cgroup, "kubepods")}:
		f.waiting.Add(1)
		f.put(id, answer{}) // so that it is asked for once
	default:
	}
	return nil
}

// Waiting tells whether there are questions without an answer.
func (f *Finder) Waiting() bool { return f != nil && f.waiting.Load() > 0 }

// Answers returns the containers that became known since the last call, by id.
func (f *Finder) Answers() map[string]*eventv1.Container {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh := f.fresh
	f.fresh = nil
	return fresh
}

// Run answers questions until ctx ends.
func (f *Finder) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case q := <-f.asked:
			f.answer(q.id, f.find(ctx, q))
			f.waiting.Add(-1)
		}
	}
}

// find asks one source after the other.
func (f *Finder) find(ctx context.Context, q question) answer {
	sources := append([]source{f.disk}, f.runtimes...)
	if q.disk {
		sources = sources[:1]
	}
	var again time.Time
	for _, s := range sources {
		limited, cancel := context.WithTimeout(ctx, patience)
		c, err := s.look(limited, q.id)
		cancel()
		switch {
		case err == nil:
			return answer{container: bounded(c)}
		case !errors.Is(err, errUnknown):
			f.log.Debug("container runtime does not answer", slog.String("container", q.id), slog.Any("error", err))
			again = f.now().Add(askAgain)
		}
	}
	return answer{again: again}
}

func (f *Finder) answer(id string, a answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(id, a)
	if a.container == nil {
		return
	}
	if f.fresh == nil {
		f.fresh = map[string]*eventv1.Container{}
	}
	f.fresh[id] = a.container // at most maxWaiting, as nothing is asked while nobody takes the answers
}

func (f *Finder) lookup(id string) (answer, bool) {
	a, ok := f.known[0][id]
	if !ok {
		if a, ok = f.known[1][id]; ok {
			f.put(id, a)
		}
	}
	return a, ok
}

func (f *Finder) put(id string, a answer) {
	if _, ok := f.known[0][id]; !ok && len(f.known[0]) == maxKnown {
		f.known = [2]map[string]answer{{}, f.known[0]}
	}
	f.known[0][strings.Clone(id)] = a
}

// bounded keeps of a container what is of use, and that within bounds: labels are anybody's to set.
func bounded(c *eventv1.Container) *eventv1.Container {
	out := &eventv1.Container{Name: clip(c.GetName()), Image: clip(c.GetImage())}
	room := maxBytes
	for _, key := range slices.Sorted(maps.Keys(c.GetLabels())) {
		value := clip(c.GetLabels()[key])
		if !wanted(key) || !utf8.ValidString(key) || len(key)+len(value) > room || len(out.GetLabels()) == maxLabels {
			continue
		}
		if out.Labels == nil {
			out.Labels = map[string]string{}
		}
		out.Labels[key] = value
		room -= len(key) + len(value)
	}
	return out
}

// wanted tells the labels that name or describe a service.
func wanted(key string) bool {
	switch key {
	case "com.docker.compose.project", "com.docker.compose.service", "com.docker.stack.namespace", "com.docker.swarm.service.name",
		"org.opencontainers.image.version", labelContainer, labelPod, labelNamespace, labelUID:
		return true
	}
	return strings.HasPrefix(key, "resource.opentelemetry.io/")
}

// Labels that a kubelet gives to its containers.
const (
	labelContainer = "io.kubernetes.container.name"
	labelPod       = "io.kubernetes.pod.name"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelUID       = "io.kubernetes.pod.uid"
)

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}
