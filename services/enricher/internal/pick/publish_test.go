// SPDX-License-Identifier: Apache-2.0

package pick_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/enricher/internal/pick"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = subject.DefaultRoot

// cluster is one that a test changes.
type cluster struct {
	mu      sync.Mutex
	pods    map[string]*kubev1.Pod
	gone    map[string]bool // nodes
	changed chan struct{}
}

func newCluster() *cluster {
	c := &cluster{pods: map[string]*kubev1.Pod{}, gone: map[string]bool{}, changed: make(chan struct{})}
	for _, p := range pods() {
		c.pods[p.GetName()] = p
	}
	return c
}

func (c *cluster) EachPod(fn func(*kubev1.Pod) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pods {
		if !fn(p) {
			return
		}
	}
}

func (c *cluster) Node(name string) *kubev1.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone[name] {
		return nil
	}
	return &kubev1.Node{Name: name}
}

func (c *cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *cluster) change(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
	close(c.changed)
	c.changed = make(chan struct{})
}

// publish runs a publisher until the test ends.
func publish(t *testing.T, b *bus.Bus, c *cluster, may func() bool) *pick.Publisher {
	t.Helper()
	p := pick.NewPublisher()
	p.Bus, p.Root, p.Cluster, p.Source, p.May, p.Log = b, root, c, "enricher", may, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("publisher ended with %v", err)
		}
	})
	return p
}

// published is what the bus has: the containers of each node with a selector, and after a slash those that opt out.
func published(t *testing.T, b *bus.Bus) (nodes map[string]string, last uint64) {
	t.Helper()
	nodes = map[string]string{}
	for _, d := range bustest.ReadAll(t, b, root.KubeStream().Name, "") {
		s := new(kubev1.Selection)
		data, err := d.Data()
		if err != nil {
			t.Fatal(err)
		}
		if s.UnmarshalVT(data) != nil {
			continue // somebody else's
		}
		if d.Subject != root.Selection(s.GetNode()) || d.Header(subject.HeaderSchema) != subject.SchemaSelection {
			t.Errorf("selection of %s on %s, schema %s", s.GetNode(), d.Subject, d.Header(subject.HeaderSchema))
		}
		var chosen, out []string
		for _, c := range s.GetChoices() {
			if c.GetOptOut() {
				out = append(out, c.GetContainerId())
			} else if len(c.GetSelectors()) > 0 {
				chosen = append(chosen, c.GetContainerId())
			}
		}
		nodes[s.GetNode()], last = strings.Join(chosen, " ")+"/"+strings.Join(out, " "), d.Sequence
	}
	return nodes, last
}

func eventually(t *testing.T, b *bus.Bus, what string, want map[string]string) (last uint64) {
	t.Helper()
	bustest.Eventually(t, what, func() bool {
		var got map[string]string
		got, last = published(t, b)
		return cmp.Equal(want, got)
	})
	return last
}

func TestPublisher(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	b := server.Connect(t, "test")
	if err := b.Provision(t.Context(), bus.StreamSpec(root.KubeStream())); err != nil {
		t.Fatal(err)
	}
	c := newCluster()
	var turn atomic.Int32
	first := publish(t, server.Connect(t, "first"), c, func() bool { return turn.Load() == 1 })
	second := publish(t, server.Connect(t, "second"), c, func() bool { return turn.Load() == 2 })
	shop, faults := compile(t, "{select: [{k8s: {namespace: shop}}]}")
	if faults != nil {
		t.Fatal(faults)
	}
	first.Use(shop)
	second.Use(shop)
	turn.Store(1)
	want := map[string]string{"n1": "cart proxy/", "n2": "db/shy", "n3": "/", "n4": "/"}
	eventually(t, b, "all selections", want)
	if d := cmp.Diff(pick.Stats{Nodes: 4, Selected: 3, OptedOut: 1}, first.Stats()); d != "" {
		t.Errorf("stats (-want +got):\n%s", d)
	}

	c.change(func() { // a pod begins to opt out, one is new, one has gone with its node
		c.pods["cart-7d-x"] = &kubev1.Pod{
			Name: "cart-7d-x", Namespace: "shop", Node: "n1", Annotations: map[string]string{"busbar.dev/observe": "false"},
			Containers: []*kubev1.Container{{Name: "cart", Id: "cart"}},
		}
		c.pods["mail"] = &kubev1.Pod{Name: "mail", Namespace: "shop", Node: "n5", Containers: []*kubev1.Container{{Name: "mail", Id: "mail"}}}
		delete(c.pods, "quiet")
		delete(c.pods, "dns")
		c.gone["n4"] = true
	})
	want = map[string]string{"n1": "/cart", "n2": "db/shy", "n3": "/", "n5": "mail/"}
	last := eventually(t, b, "what changed", want)

	turn.Store(2) // the other one takes over, and has nothing to write
	bustest.Eventually(t, "the other one publishes", func() bool { return second.Stats().Nodes == 4 && first.Stats().Nodes == 0 })
	if _, now := published(t, b); now != last {
		t.Errorf("message %d is new though nothing has changed", now)
	}
	batch, faults := compile(t, "{exclude: [{k8s: {namespace: batch}}]}")
	if faults != nil {
		t.Fatal(faults)
	}
	second.Use(batch)
	eventually(t, b, "other selectors", map[string]string{"n1": "/cart", "n2": "odd report/shy", "n3": "/", "n5": "/"})

	// Somebody else has written meanwhile: it is noticed, and put right.
	if err := b.Publish(t.Context(), bus.Msg{Subject: root.Selection("n5"), Data: []byte("rubbish")}); err != nil {
		t.Fatal(err)
	}
	second.Use(shop)
	eventually(t, b, "its own again", want)
}
