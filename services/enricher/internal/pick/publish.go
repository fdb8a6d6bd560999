// SPDX-License-Identifier: Apache-2.0

package pick

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

const (
	// gather is how long changes of the cluster are collected before they are looked at. Looking may take a tenth of the time.
	gather     = 300 * time.Millisecond
	gatherEach = 10
	// retryAfter is when what could not be written is tried again, and how soon one who may publish notices.
	retryAfter = 3 * time.Second
)

// Cluster is what a Publisher needs to know; *kube.Directory has it.
type Cluster interface {
	EachPod(fn func(*kubev1.Pod) bool)
	Node(name string) *kubev1.Node
	Changed() <-chan struct{}
}

// Publisher keeps the selection of every node on the bus. Of all enrichers only one may publish at a time; a selection is written in place of
// the one that is known, so that one who may no longer overwrites nothing. Run it once.
type Publisher struct {
	Bus     *bus.Bus
	Root    subject.Root
	Cluster Cluster
	Source  string      // service that publishes
	May     func() bool // whether this one may publish now, and knows all of the cluster
	Log     *slog.Logger

	selectors atomic.Pointer[Selectors]
	news      chan struct{} // there are other selectors; holds one
	stats     atomic.Pointer[Stats]

	known map[string]stored // selections by node, while this one may publish; nil otherwise
}

// stored is a selection on the bus.
type stored struct {
	sequence uint64
	data     []byte
}

// Stats is what a Publisher has published.
type Stats struct{ Nodes, Selected, OptedOut int } // the latter are containers

// NewPublisher returns a Publisher without selectors; the caller sets its fields.
func NewPublisher() *Publisher {
	p := &Publisher{news: make(chan struct{}, 1)}
	p.selectors.Store(new(Selectors))
	p.stats.Store(new(Stats))
	return p
}

// Use puts selectors in force. It may be called from any goroutine.
func (p *Publisher) Use(s *Selectors) {
	p.selectors.Store(s)
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// Stats returns what is published; zero while others publish.
func (p *Publisher) Stats() Stats { return *p.stats.Load() }

// Run publishes, or waits until it may, until ctx ends; then it returns nil.
func (p *Publisher) Run(ctx context.Context) error {
	for {
		changed, begin := p.Cluster.Changed(), time.Now()
		if err := p.pass(ctx); err != nil && ctx.Err() == nil {
			p.Log.Debug("selections not published", slog.Any("error", err))
		}
		pause := max(gather, gatherEach*time.Since(begin))
		select {
		case <-changed:
			if !p.rest(ctx, pause) {
				return nil
			}
		case <-p.news:
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

// rest waits; false when ctx ends before.
func (p *Publisher) rest(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}

// pass makes the selections on the bus what they should be, if this one may.
func (p *Publisher) pass(ctx context.Context) error {
	if !p.May() {
		p.known = nil
		p.stats.Store(new(Stats))
		return nil
	}
	if p.known == nil {
		if err := p.recall(ctx); err != nil {
			return err
		}
	}
	var pods []*kubev1.Pod
	p.Cluster.EachPod(func(pod *kubev1.Pod) bool {
		pods = append(pods, pod)
		return true
	})
	selectors := p.selectors.Load()
	nodes := selectors.Resolve(slices.Values(pods))
	var errs []error
	for node := range p.known {
		switch {
		case nodes[node] != nil:
		case p.Cluster.Node(node) != nil: // without a pod, for now
			nodes[node] = &kubev1.Selection{Node: node, Selectors: selectors.keys}
		default:
			errs = append(errs, p.remove(ctx, node))
		}
	}
	stats := Stats{Nodes: len(nodes)}
	for node, s := range nodes {
		stats.add(s)
		errs = append(errs, p.put(ctx, node, s))
	}
	p.stats.Store(&stats)
	return errors.Join(errs...)
}

func (s *Stats) add(selection *kubev1.Selection) {
	for _, c := range selection.GetChoices() {
		switch {
		case c.GetOptOut():
			s.OptedOut++
		case len(c.GetSelectors()) > 0:
			s.Selected++
		}
	}
}

// recall reads what others have published before.
func (p *Publisher) recall(ctx context.Context) error {
	known := map[string]stored{}
	err := p.Bus.Replay(ctx, p.Root.KubeStream().Name, string(p.Root)+".kube.selection.*", func(d *bus.Delivery) error {
		s := new(kubev1.Selection)
		data, err := d.Data()
		if err == nil && s.UnmarshalVT(data) == nil && p.Root.Selection(s.GetNode()) == d.Subject {
			known[s.GetNode()] = stored{d.Sequence, data}
		}
		return nil // what nobody can read is in the way when the next one takes its place
	})
	if err != nil {
		return err
	}
	p.known = known
	return nil
}

// put writes the selection of a node unless it is there.
func (p *Publisher) put(ctx context.Context, node string, s *kubev1.Selection) error {
	data, err := s.MarshalVT()
	if err != nil {
		return err
	}
	before := p.known[node]
	if before.sequence != 0 && bytes.Equal(before.data, data) {
		return nil
	}
	sequence, err := p.Bus.Put(ctx, bus.Msg{
		Subject: p.Root.Selection(node), Data: data,
		Header: map[string]string{subject.HeaderSchema: subject.SchemaSelection, subject.HeaderSource: p.Source},
	}, before.sequence)
	if err != nil {
		return p.failed(ctx, node, err)
	}
	p.known[node] = stored{sequence, data}
	return nil
}

// failed looks what is in the way of a selection: somebody else's, or what nobody can read.
func (p *Publisher) failed(ctx context.Context, node string, err error) error {
	if errors.Is(err, bus.ErrConflict) {
		d, ok, look := p.Bus.Last(ctx, p.Root.KubeStream().Name, p.Root.Selection(node))
		switch {
		case look != nil:
			return look
		case ok:
			p.known[node] = stored{sequence: d.Sequence}
		default:
			delete(p.known, node)
		}
	}
	return fmt.Errorf("publish selection of node %s: %w", node, err)
}

// remove takes the selection of a node that is no more off the bus.
func (p *Publisher) remove(ctx context.Context, node string) error {
	if err := p.Bus.Purge(ctx, p.Root.KubeStream().Name, p.Root.Selection(node), p.known[node].sequence); err != nil {
		return fmt.Errorf("remove selection of node %s: %w", node, err)
	}
	delete(p.known, node)
	return nil
}
