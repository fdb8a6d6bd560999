// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/enricher/internal/kube"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = subject.DefaultRoot

func put(t *testing.T, b *bus.Bus, to string, data []byte) {
	t.Helper()
	if err := b.Publish(t.Context(), bus.Msg{Subject: to, Data: data}); err != nil {
		t.Fatal(err)
	}
}

func encoded(t *testing.T, m interface{ MarshalVT() ([]byte, error) }) []byte {
	t.Helper()
	data, err := m.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// All that the bus has is known before caught is called, and what comes later too. What cannot be read spoils nothing, and another
// stream of the same name is read from its beginning.
func TestFollow(t *testing.T) {
	t.Parallel()
	nats := bustest.Start(t)
	b := nats.Connect(t, "test")
	if err := b.Provision(t.Context(), bus.StreamSpec(root.KubeStream())); err != nil {
		t.Fatal(err)
	}
	put(t, b, root.Kube("pod", "bad"), []byte("\xff\xff"))
	put(t, b, root.Kube("pod", "nobody"), nil)
	put(t, b, root.Kube("node", "n"), encoded(t, &kubev1.Node{Uid: "n", Name: "node-1"}))
	put(t, b, root.Kube("pod", "1"), encoded(t, &kubev1.Pod{Uid: "1", Name: "a"}))
	put(t, b, root.Selection("node-1"), []byte("for probes"))
	put(t, b, root.KubeWatcher(), encoded(t, &kubev1.Watcher{Instance: "i", Complete: true, Cluster: "lab"}))

	d := kube.NewDirectory()
	ctx, cancel := context.WithCancel(t.Context())
	caught, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- d.Follow(ctx, b, root, slog.New(slog.DiscardHandler), func() { close(caught) }) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-caught
	if s := d.Stats(); d.Pod("1").GetName() != "a" || d.Node("node-1") == nil || d.Cluster() != "lab" || !s.Complete || s.Things[kube.KindPod] != 1 {
		t.Errorf("known: %+v", s)
	}
	changed := d.Changed()
	put(t, b, root.Kube("pod", "1"), encoded(t, &kubev1.Pod{Uid: "1", Name: "b"}))
	<-changed
	if got := d.Pod("1").GetName(); got != "b" {
		t.Errorf("name %q", got)
	}

	nats.DeleteStream(t, root.KubeStream().Name)
	bustest.Eventually(t, "another stream", func() bool {
		return b.Publish(t.Context(), bus.Msg{Subject: root.Kube("pod", "2"), Data: encoded(t, &kubev1.Pod{Uid: "2", Name: "c"})}) == nil
	})
	bustest.Eventually(t, "it is read", func() bool { return d.Pod("2").GetName() == "c" && d.Pod("1") == nil })
}
