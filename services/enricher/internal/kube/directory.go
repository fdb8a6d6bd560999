// SPDX-License-Identifier: Apache-2.0

// Package kube knows the Kubernetes cluster: which pod a container is of, and whose an address is.
//
// The cluster is on the bus. One enricher, the watcher, asks the API and writes a message per pod, service and node; every
// enricher reads them all and keeps them in memory, as a Directory. So an event costs no question to anybody, the API has one
// client however many enrichers there are, and who starts later knows at once what the others know.
package kube

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

// Kind is what a message of the directory is about, as in its subject.
type Kind string

// The kinds.
const (
	KindPod     Kind = "pod"
	KindService Kind = "service"
	KindNode    Kind = "node"
)

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{KindPod, KindService, KindNode} }

// Keep is how long a thing stays known after its end: an event may be that late.
const Keep = 10 * time.Minute

// Bounds of the directory, beyond what Kubernetes supports. A thing that finds it full is not taken in, and counted.
const (
	MaxPods     = 200_000
	MaxServices = 50_000
	MaxNodes    = 20_000
	maxAddress  = 64 // addresses, or containers, of one thing
)

func bound(kind Kind) int {
	switch kind {
	case KindPod:
		return MaxPods
	case KindService:
		return MaxServices
	case KindNode:
	}
	return MaxNodes
}

// Directory is the cluster as the bus has it. It is safe for concurrent use; a nil one knows nothing. What it returns is not changed any
// more, and nobody may change it.
type Directory struct {
	version atomic.Uint64

	mu         sync.RWMutex
	things     map[Kind]map[string]*thing // by uid
	containers map[string]place           // by container id
	aliases    map[string]*thing          // pods by the uid that their cgroups have, where it is another
	nodes      map[string]*thing          // by name
	addresses  map[Kind]map[netip.Addr]*thing
	lease      Lease
	generation uint64 // of the reading that goes on
	readings   uint64 // that ended
	complete   bool   // all that was on the bus at some time has been read
	refused    uint64
	changed    chan struct{} // closed with the next change; nil when nobody waits
}

// thing is a pod, a service or a node.
type thing struct {
	kind       Kind
	uid        string
	sequence   uint64 // of its message
	generation uint64 // of the reading of the stream in which it was seen
	expires    time.Time
	message    Message

	pod       *kubev1.Pod // if it is one
	name      string
	namespace string
	start     uint64
	addresses []netip.Addr
}

// ended tells whether the thing is no more.
func (t *thing) ended() bool { return t.message.GetEndUnixNano() != 0 }

// place is where a container is.
type place struct {
	pod       *thing
	container *kubev1.Container
}

// NewDirectory returns a directory of which nothing is known yet.
func NewDirectory() *Directory {
	d := &Directory{containers: map[string]place{}, aliases: map[string]*thing{}, nodes: map[string]*thing{}}
	d.things, d.addresses = map[Kind]map[string]*thing{}, map[Kind]map[netip.Addr]*thing{}
	for _, kind := range Kinds() {
		d.things[kind], d.addresses[kind] = map[string]*thing{}, map[netip.Addr]*thing{}
	}
	return d
}

// Container returns the pod and the container that have an id of 64 hexadecimal digits; nil, nil when nobody has.
func (d *Directory) Container(id string) (*kubev1.Pod, *kubev1.Container) {
	if d == nil || id == "" {
		return nil, nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if at, ok := d.containers[id]; ok {
		return at.pod.pod, at.container
	}
	return nil, nil
}

// Pod returns the pod that has a uid, its own or the one that its cgroups have; nil when none has.
func (d *Directory) Pod(uid string) *kubev1.Pod {
	if d == nil || uid == "" {
		return nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	t := d.things[KindPod][uid]
	if t == nil {
		t = d.aliases[uid]
	}
	if t == nil {
		return nil
	}
	return t.pod
}

// Process returns the pod and the container of a process, by its container id or else by the pod in its cgroup's path; then
// the container is nil unless the pod has but one.
func (d *Directory) Process(containerID, cgroup string) (*kubev1.Pod, *kubev1.Container) {
	if pod, container := d.Container(containerID); pod != nil {
		return pod, container
	}
	pod := d.Pod(PodUID(cgroup))
	return pod, only(pod)
}

// only returns the newest run of the container of a pod that has but one.
func only(pod *kubev1.Pod) *kubev1.Container {
	for _, c := range pod.GetContainers() {
		if c.GetName() != pod.GetContainers()[0].GetName() {
			return nil
		}
	}
	if len(pod.GetContainers()) == 0 {
		return nil
	}
	return pod.GetContainers()[0]
}

// Node returns the node that has a name; nil when none has.
func (d *Directory) Node(name string) *kubev1.Node {
	if d == nil {
		return nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	t := d.nodes[name]
	if t == nil {
		return nil
	}
	node, _ := t.message.(*kubev1.Node)
	return node
}

// Peer is whose an address is.
type Peer struct {
	Kind                 Kind
	Name, Namespace, UID string
	Pod                  *kubev1.Pod // if it is one
}

// Peer returns whose an address is. Pods that share their node's network have no address of their own: theirs is the node's. Where an
// address is both a node's and a service's, as some load balancers have it, it is the node's.
func (d *Directory) Peer(address netip.Addr) (Peer, bool) {
	if d == nil {
		return Peer{}, false
	}
	address = address.Unmap().WithZone("")
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, kind := range [...]Kind{KindPod, KindNode, KindService} {
		if t := d.addresses[kind][address]; t != nil {
			return Peer{Kind: t.kind, Name: t.name, Namespace: t.namespace, UID: t.uid, Pod: t.pod}, true
		}
	}
	return Peer{}, false
}

// EachPod calls fn with every pod, in no order, until it returns false. The directory does not change meanwhile.
func (d *Directory) EachPod(fn func(*kubev1.Pod) bool) {
	if d == nil {
		return
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, t := range d.things[KindPod] {
		if !fn(t.pod) {
			return
		}
	}
}

// Version goes up with every change: what was derived from the directory holds for as long as it stays the same.
func (d *Directory) Version() uint64 {
	if d == nil {
		return 0
	}
	return d.version.Load()
}

// Changed returns a channel that is closed at the next change; ask for it before looking.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.changed
}

// Cluster is the name that was given to the cluster; "" when none was.
func (d *Directory) Cluster() string {
	if d == nil {
		return ""
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.lease.GetCluster()
}

// Stats is how much a directory knows.
type Stats struct {
	Things     map[Kind]int
	Containers int
	Refused    uint64 // things that were not taken in, because the directory was full
	Complete   bool   // a watcher says that all is on the bus, and all of that has been read
}

// Stats returns how much the directory knows.
func (d *Directory) Stats() Stats {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := Stats{Things: map[Kind]int{}, Containers: len(d.containers), Refused: d.refused, Complete: d.complete && d.lease.GetComplete()}
	for kind, things := range d.things {
		s.Things[kind] = len(things)
	}
	return s
}
