// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"log/slog"
	"time"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/enricher/internal/kube"
)

const (
	beatEvery = kube.Beat
	// patience is how long the others wait for the next beat before one of them takes over.
	patience = 9 * time.Second
)

// tenure agrees with the other enrichers on who watches, by one message that each replaces in turn. Nobody's clock counts: the watcher is gone
// when its beat has not moved for a while by the clock of whoever looks. It spares the API; that two who believe to watch do no
// harm is what each message about a thing is fenced for. It is used by one goroutine.
type tenure struct {
	bus       *bus.Bus
	root      subject.Root
	directory *kube.Directory
	self      *kubev1.Watcher // what this one says of itself
	log       *slog.Logger

	held  bool
	last  uint64    // sequence of the message, while held
	blind time.Time // when this one last could not have heard of a watcher
}

// beat says that this one watches, or takes over when nobody else does, and tells whether it watches now. While the bus is away all stays as it was.
func (t *tenure) beat(ctx context.Context, now time.Time) bool {
	if t.bus.Ready() != nil {
		t.blind = now
		return t.held
	}
	if !t.held && !t.vacant(now) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	err := t.put(ctx)
	if errors.Is(err, bus.ErrConflict) {
		t.held = t.held && t.adopt(ctx)
		return t.held
	}
	if err != nil {
		t.log.Debug("the watcher of the cluster cannot say that it lives", "error", err)
		return t.held
	}
	t.held = true
	return true
}

// vacant tells whether nobody watches, as far as can be heard.
func (t *tenure) vacant(now time.Time) bool {
	at := t.directory.Lease()
	t.last = at.Sequence
	if at.Watcher == nil || at.GetInstance() == "" || at.GetInstance() == t.self.GetInstance() { // another life of this one
		return true
	}
	heard := at.Heard
	if t.blind.After(heard) {
		heard = t.blind
	}
	return now.Sub(heard) > patience
}

// put writes the message, in place of the one that is known.
func (t *tenure) put(ctx context.Context) error {
	t.self.Beat++
	data, err := t.self.MarshalVT()
	if err != nil {
		return err
	}
	sequence, err := t.bus.Put(ctx, bus.Msg{
		Subject: t.root.KubeWatcher(), Header: map[string]string{subject.HeaderSchema: subject.SchemaWatcher}, Data: data,
	}, t.last)
	if err == nil {
		t.last = sequence
	}
	return err
}

// adopt looks whether the message that is in the way is this one's own, stored although there was an error.
func (t *tenure) adopt(ctx context.Context) bool {
	d, ok, err := t.bus.Last(ctx, t.root.KubeStream().Name, t.root.KubeWatcher())
	if err != nil {
		return true // not known yet
	}
	if !ok { // the stream was made anew
		t.last = 0
		return true
	}
	at := new(kubev1.Watcher)
	data, err := d.Data()
	if err != nil || at.UnmarshalVT(data) != nil || at.GetInstance() != t.self.GetInstance() || at.GetLife() != t.self.GetLife() {
		return false
	}
	t.last = d.Sequence
	return true
}

// leave lets another one take over at once.
func (t *tenure) leave(ctx context.Context) {
	if !t.held {
		return
	}
	t.held = false
	cluster := t.self.GetCluster()
	t.self = &kubev1.Watcher{Cluster: cluster, Complete: t.self.GetComplete()}
	if err := t.put(ctx); err != nil {
		t.log.Debug("the watcher of the cluster cannot say that it leaves", "error", err)
	}
}
