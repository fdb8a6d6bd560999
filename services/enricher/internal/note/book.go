// SPDX-License-Identifier: Apache-2.0

package note

import (
	"log/slog"
	"sync"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

const (
	maxPods   = 4096 // remembered, twice; the older half is forgotten at once
	maxLogged = 1024 // complaints; further ones are counted only
)

// Book remembers the notes of pods. It is safe for concurrent use; a nil one knows none.
type Book struct {
	log       *slog.Logger
	malformed func() // counts

	mu         sync.Mutex
	fresh, old map[*kubev1.Pod]*Notes
	logged     map[[2]string]bool // namespace and complaint
}

// NewBook returns a Book. Malformed is called once for each pod, as the cluster has it, of which an annotation is malformed.
func NewBook(log *slog.Logger, malformed func()) *Book {
	return &Book{log: log, malformed: malformed, fresh: map[*kubev1.Pod]*Notes{}, logged: map[[2]string]bool{}}
}

// Of returns the notes of a pod; nil for none. Messages about pods do not change, so each is read once.
func (b *Book) Of(pod *kubev1.Pod) *Notes {
	if b == nil || pod == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.fresh[pod]
	if !ok {
		if n, ok = b.old[pod]; !ok {
			n = b.read(pod)
		}
		if len(b.fresh) == maxPods {
			b.fresh, b.old = map[*kubev1.Pod]*Notes{}, b.fresh
		}
		b.fresh[pod] = n
	}
	return n
}

// read reads the annotations of a pod, and complains of those that are malformed: once, however many pods a workload has.
func (b *Book) read(pod *kubev1.Pod) *Notes {
	n, err := Read(pod.GetAnnotations())
	if err == nil {
		return n
	}
	b.malformed()
	complaint := [2]string{pod.GetNamespace(), err.Error()}
	if !b.logged[complaint] && len(b.logged) < maxLogged {
		b.logged[complaint] = true
		b.log.Warn("annotation left out", slog.String("namespace", pod.GetNamespace()), slog.String("pod", pod.GetName()), slog.Any("error", err))
	}
	return n
}
