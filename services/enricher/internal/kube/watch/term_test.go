// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/enricher/internal/kube"
)

const root = subject.DefaultRoot

// office is a bus, a term on it, and another one who writes.
type office struct {
	*term
	other *bus.Bus
}

func newOffice(t *testing.T) office {
	t.Helper()
	nats := bustest.Start(t)
	w := New(Config{Bus: nats.Connect(t, "one"), Root: root, Directory: kube.NewDirectory(), Log: slog.New(slog.DiscardHandler)})
	if err := w.Bus.Provision(t.Context(), bus.StreamSpec(root.KubeStream())); err != nil {
		t.Fatal(err)
	}
	o := office{newTerm(w), nats.Connect(t, "two")}
	t.Cleanup(o.queue.ShutDown)
	return o
}

func (o office) has(t *testing.T, uid string) *kubev1.Pod {
	t.Helper()
	d, ok, err := o.other.Last(t.Context(), root.KubeStream().Name, root.Kube("pod", uid))
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return nil
	}
	data, err := d.Data()
	p := new(kubev1.Pod)
	if err != nil || p.UnmarshalVT(data) != nil {
		t.Fatal("message cannot be read")
	}
	return p
}

func key(uid string) kube.Key { return kube.Key{Kind: kube.KindPod, UID: uid} }

func object(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "1", Name: name, CreationTimestamp: metav1.Now()}}
}

// Who has lost its place overwrites nothing, and what it wrote is set right once it is known.
func TestTwoWhoBelieveToWatch(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.cluster.put(object("right"))
	data, err := (&kubev1.Pod{Uid: "1", Name: "old"}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	sequence, err := o.other.Put(t.Context(), bus.Msg{Subject: root.Kube("pod", "1"), Data: data}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.reconcile(t.Context(), key("1")); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("error %v", err)
	}
	if got := o.has(t, "1").GetName(); got != "old" {
		t.Errorf("%q was overwritten blindly", got)
	}
	o.directory.Learn(kube.KindPod, &kubev1.Pod{Uid: "1", Name: "old"}, sequence)
	if !o.pass(t.Context()) || o.has(t, "1").GetName() != "right" {
		t.Errorf("the bus has %v", o.has(t, "1"))
	}
}

// What ended is told, kept for a while, and taken off; nothing is written about it again though the API keeps it.
func TestTheEndOfAPod(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	pod := object("job")
	o.cluster.put(pod)
	if !o.pass(t.Context()) || o.has(t, "1").GetEndUnixNano() != 0 {
		t.Fatal("it does not live")
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: terminated("", time.Now().Add(-time.Hour).Unix())}}}
	o.cluster.put(pod)
	if !o.pass(t.Context()) || o.has(t, "1").GetEndUnixNano() == 0 {
		t.Fatal("it does not end")
	}
	e, _ := o.directory.Entry(key("1"))
	if err := o.remove(t.Context(), key("1"), e); err != nil || o.has(t, "1") != nil {
		t.Fatalf("it is not taken off: %v", err)
	}
	if o.directory.Pod("1") == nil {
		t.Error("it is forgotten at once")
	}
	fresh := newTerm(New(Config{Bus: o.bus, Root: root, Directory: kube.NewDirectory(), Log: o.log}))
	t.Cleanup(fresh.queue.ShutDown)
	fresh.cluster.put(pod)
	for _, term := range []*term{o.term, fresh} {
		if !term.pass(t.Context()) || o.has(t, "1") != nil {
			t.Error("it is written again")
		}
	}
}

// A pod that the API has no more has ended; one that somebody took for ended by mistake lives again.
func TestWhatTheAPISaysCounts(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	pod := object("p")
	o.cluster.put(pod)
	o.pass(t.Context())
	o.cluster.drop("1")
	if !o.pass(t.Context()) || o.has(t, "1").GetEndUnixNano() == 0 {
		t.Error("it does not end")
	}
	o.cluster.put(pod)
	if !o.pass(t.Context()) || o.has(t, "1").GetEndUnixNano() != 0 {
		t.Error("it does not live again")
	}
}
