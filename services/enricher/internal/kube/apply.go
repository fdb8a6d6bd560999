// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

// Message is the payload about a thing.
type Message interface {
	proto.Message
	GetUid() string
	GetName() string
	GetAddresses() [][]byte
	GetEndUnixNano() uint64
	UnmarshalVT(data []byte) error
	MarshalVT() ([]byte, error)
}

// newMessage returns an empty message about a thing of a kind; nil if there is no such kind.
func newMessage(kind Kind) Message {
	switch kind {
	case KindPod:
		return new(kubev1.Pod)
	case KindService:
		return new(kubev1.Service)
	case KindNode:
		return new(kubev1.Node)
	}
	return nil
}

// configHash is the annotation of a static pod's mirror with the uid that the kubelet gave the pod itself: its cgroups have that one.
const configHash = "kubernetes.io/config.hash"

// put takes in a message about a thing, in place of the one before.
func (d *Directory) put(kind Kind, m Message, sequence, generation uint64, now time.Time) {
	t := &thing{kind: kind, uid: m.GetUid(), sequence: sequence, generation: generation, message: m, name: m.GetName()}
	switch m := m.(type) {
	case *kubev1.Pod:
		t.pod, t.namespace, t.start = m, m.GetNamespace(), m.GetStartUnixNano()
		m.Containers = m.GetContainers()[:min(len(m.GetContainers()), maxAddress)]
	case *kubev1.Service:
		t.namespace = m.GetNamespace()
	}
	for _, raw := range m.GetAddresses()[:min(len(m.GetAddresses()), maxAddress)] {
		if a, ok := netip.AddrFromSlice(raw); ok {
			t.addresses = append(t.addresses, a.Unmap())
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.things[kind][t.uid]
	switch {
	case before != nil && before.sequence >= sequence: // it has come back from the bus
		before.generation = max(before.generation, generation)
		return
	case before != nil:
		if t.ended() {
			t.expires = before.expires
		}
		d.unlink(before)
	case len(d.things[kind]) >= bound(kind):
		d.refused++
		return
	}
	if t.ended() && t.expires.IsZero() {
		t.expires = now.Add(Keep)
	}
	d.link(t)
	d.touch()
}

// link makes a thing known under all that it is called by.
func (d *Directory) link(t *thing) {
	d.things[t.kind][t.uid] = t
	for _, c := range t.pod.GetContainers() {
		if c.GetId() != "" {
			d.containers[c.GetId()] = place{t, c}
		}
	}
	if alias := t.pod.GetAnnotations()[configHash]; alias != "" && newer(t, d.aliases[alias]) {
		d.aliases[alias] = t
	}
	if t.kind == KindNode && newer(t, d.nodes[t.name]) {
		d.nodes[t.name] = t
	}
	for _, a := range t.addresses {
		if newer(t, d.addresses[t.kind][a]) {
			d.addresses[t.kind][a] = t
		}
	}
}

// newer tells whether a thing has what another had before. Addresses are used again: who lives has them, and among those the last to start.
func newer(t, other *thing) bool {
	switch {
	case other == nil || other.uid == t.uid:
		return true
	case t.ended() != other.ended():
		return other.ended()
	}
	return t.start >= other.start
}

// unlink forgets a thing under all that it was called by.
func (d *Directory) unlink(t *thing) {
	delete(d.things[t.kind], t.uid)
	for _, c := range t.pod.GetContainers() {
		if d.containers[c.GetId()].pod == t {
			delete(d.containers, c.GetId())
		}
	}
	if alias := t.pod.GetAnnotations()[configHash]; d.aliases[alias] == t {
		delete(d.aliases, alias)
	}
	if t.kind == KindNode && d.nodes[t.name] == t {
		delete(d.nodes, t.name)
	}
	for _, a := range t.addresses {
		if d.addresses[t.kind][a] == t {
			delete(d.addresses[t.kind], a)
		}
	}
}

// expire forgets what ended long ago.
func (d *Directory) expire(now time.Time) {
	d.forget(func(t *thing) bool { return !t.expires.IsZero() && now.After(t.expires) })
}

// read begins a reading of the whole stream, which may be another one than before.
func (d *Directory) read(generation uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.generation = generation
	for _, things := range d.things {
		for _, t := range things {
			t.sequence = 0
		}
	}
}

// sweep ends a reading of the whole stream: what was not seen in it is on the bus no more.
func (d *Directory) sweep(generation uint64) {
	d.forget(func(t *thing) bool { return t.generation != generation })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.complete = true
	d.readings++
}

func (d *Directory) forget(gone func(*thing) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, things := range d.things {
		for _, t := range things {
			if gone(t) {
				d.unlink(t)
				d.touch()
			}
		}
	}
}

// touch tells of a change.
func (d *Directory) touch() {
	d.version.Add(1)
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}
