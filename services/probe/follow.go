// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/probe/internal/agent"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

const (
	// lookEvery is how often the selection of this node is looked up, in case it was published while the connection was away.
	lookEvery = 15 * time.Second
	// Otherwise a message on its subject tells that there is a new one; it may take a moment until it is stored.
	lookAgain    = 100 * time.Millisecond
	lookAgainFor = 10 // times
)

// follow keeps in force what whoever watches Kubernetes says about the containers of this node. Where nobody does, nothing ever comes.
func (p *probe) follow(ctx context.Context) error {
	news := make(chan struct{}, 1)
	var group run.Group
	group.Add("news", func(ctx context.Context) error {
		return p.bus.Subscribe(ctx, p.Root.Selection(p.Node), func(*bus.Delivery) {
			select {
			case news <- struct{}{}:
			default:
			}
		})
	})
	group.Add("stored", func(ctx context.Context) error {
		p.lookOften(ctx, news)
		return nil
	})
	return group.Run(ctx)
}

// lookOften looks the selection up when there are news of it, and now and then. What counts is what is stored: whoever has lost the
// right to say what is selected may still publish, but not store.
func (p *probe) lookOften(ctx context.Context, news <-chan struct{}) {
	sequence, again := uint64(0), 0
	for {
		before := sequence
		sequence = p.look(ctx, before)
		pause := lookEvery
		if again > 0 && sequence == before {
			again, pause = again-1, lookAgain
		}
		timer := time.NewTimer(pause)
		select {
		case <-news:
			again = lookAgainFor
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// look puts the selection that is stored in force, unless it is the one with the given sequence number, and returns its number. When it
// cannot be had the last one stays.
func (p *probe) look(ctx context.Context, known uint64) (sequence uint64) {
	d, ok, err := p.bus.Last(ctx, p.Root.KubeStream().Name, p.Root.Selection(p.Node))
	if err != nil || !ok || d.Sequence == known {
		if err != nil && ctx.Err() == nil {
			p.log.Debug("selection not looked up", slog.Any("error", err))
		}
		return known
	}
	if s, err := readSelection(d); err != nil {
		p.log.Warn("selection left out", slog.Any("error", err))
	} else {
		p.agent.Choose(sel.Choose(s))
	}
	return d.Sequence
}

// readSelection decodes a message.
func readSelection(d *bus.Delivery) (*kubev1.Selection, error) {
	if schema := d.Header(subject.HeaderSchema); schema != subject.SchemaSelection {
		return nil, fmt.Errorf("schema is %.100q, not %s", schema, subject.SchemaSelection)
	}
	data, err := d.Data()
	if err != nil {
		return nil, err
	}
	if len(data) > bus.MaxData {
		return nil, errors.New("it is too large")
	}
	s := new(kubev1.Selection)
	if err := s.UnmarshalVT(data); err != nil {
		return nil, fmt.Errorf("decode selection: %w", err)
	}
	return s, nil
}

// unresolved says that containers are not observed because nobody tells which they are.
func unresolved(s agent.Status) []string {
	if s.Unresolved == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d of %d Kubernetes selectors match nothing yet: no enricher that watches Kubernetes has resolved them", s.Unresolved, s.Selectors)}
}
