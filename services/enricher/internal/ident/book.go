// SPDX-License-Identifier: Apache-2.0

package ident

import (
	"maps"
	"strings"
	"sync"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

// maxEntries is how many identities a Book remembers, twice; some 3 KiB each. An older half is forgotten at once, and what is
// still in use is made anew, which takes microseconds.
const maxEntries = 4096

// Book remembers the identities of processes from one batch to the next, for as long as what they are made of stays the same. It is safe
// for concurrent use.
type Book struct {
	By Producer

	cluster Cluster
	encode  func([]Attribute) []byte

	mu       sync.Mutex
	machines map[string]*Machine
	fresh    map[key]*entry
	old      map[key]*entry
}

// Cluster is what a Book needs to know about Kubernetes; *kube.Directory has it.
type Cluster interface {
	// Process returns the pod and the container of a process; nil for what is not known.
	Process(containerID, cgroup string) (*kubev1.Pod, *kubev1.Container)
	Node(name string) *kubev1.Node
	Cluster() string
}

// NewBook returns a Book. Encode makes Known.Resource of the attributes of an identity.
func NewBook(cluster Cluster, by Producer, encode func([]Attribute) []byte) *Book {
	return &Book{By: by, cluster: cluster, encode: encode, machines: map[string]*Machine{}, fresh: map[key]*entry{}, old: map[key]*entry{}}
}

// Known is an identity that a Book remembers. It is not changed any more, and nobody may change it.
type Known struct {
	Identity
	Resource  []byte      // the attributes, encoded
	Pod       *kubev1.Pod // the process is in; nil for none, or if the cluster does not know it
	Malformed bool        // OTEL_RESOURCE_ATTRIBUTES had to be left out
	Network   Network     // the process is in
}

// Network is where addresses of a process mean what they mean to it.
type Network struct {
	Node string
	Name string // of the network namespace on the node: a pod's uid or a container's id; "": the node's own
	// Private tells that other nodes may have the same addresses: those of containers outside Kubernetes.
	Private bool
}

// network finds out in which network a process is. A container that shares the node's has the node's host name too.
func (s *Source) network() Network {
	n := Network{Node: s.Node}
	switch {
	case s.Pod.GetHostNetwork():
	case s.Pod != nil:
		n.Name = s.Pod.GetUid()
	case s.Process.GetHostName() != "":
		n.Name, n.Private = s.Process.GetContainerId(), s.Process.GetContainerId() != ""
	}
	return n
}

// Machine is where the processes of a batch are. It is valid for that batch.
type Machine struct {
	book *Book
	node string
	host *eventv1.Host
}

// key tells processes apart.
type key struct {
	machine *Machine
	pid     uint32
	start   uint64
}

// entry is an identity and what it was made of.
type entry struct {
	known  *Known
	source Source
}

// Machine returns the machine that a batch comes from. Its texts may be parts of a buffer: what is remembered is copied.
func (b *Book) Machine(origin *eventv1.Origin) *Machine {
	node := clip(origin.GetNode(), maxName)
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.machines[node]
	if m == nil || !sameHost(m.host, origin.GetHost()) {
		if len(b.machines) >= maxEntries {
			clear(b.machines)
		}
		m = &Machine{book: b, node: strings.Clone(node), host: cloneHost(origin.GetHost())}
		b.machines[m.node] = m
	}
	return m
}

// Of identifies a process of the machine.
func (m *Machine) Of(p *eventv1.Process) *Known {
	b := m.book
	s := Source{Process: p, Node: m.node, Host: m.host, KubeNode: b.cluster.Node(m.node), Cluster: b.cluster.Cluster()}
	s.Pod, s.Container = b.cluster.Process(p.GetContainerId(), p.GetCgroup())
	if s.KubeNode == nil && s.Pod != nil {
		s.KubeNode = b.cluster.Node(s.Pod.GetNode()) // its machine calls itself otherwise
	}
	k := key{m, p.GetPid(), p.GetStartUnixNano()}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.fresh[k]
	if e == nil {
		if e = b.old[k]; e != nil {
			b.keep(k, e)
		}
	}
	if e == nil || !e.holds(&s) {
		e = b.identify(s)
		b.keep(k, e)
	}
	return e.known
}

func (b *Book) identify(s Source) *entry {
	s.Process = cloneProcess(s.Process)
	id, err := Of(s, b.By)
	return &entry{known: &Known{Identity: id, Resource: b.encode(id.Attributes), Pod: s.Pod, Malformed: err != nil, Network: s.network()}, source: s}
}

func (b *Book) keep(k key, e *entry) {
	if _, ok := b.fresh[k]; !ok && len(b.fresh) == maxEntries {
		b.fresh, b.old = map[key]*entry{}, b.fresh
	}
	b.fresh[k] = e
}

// holds tells whether an identity would come out the same again. Messages of the directory do not change; a process may.
func (e *entry) holds(s *Source) bool {
	return e.source.Pod == s.Pod && e.source.Container == s.Container && e.source.KubeNode == s.KubeNode && e.source.Cluster == s.Cluster &&
		sameProcess(e.source.Process, s.Process)
}

// sameProcess compares what identities are made of.
func sameProcess(a, b *eventv1.Process) bool {
	return a.GetExecutable() == b.GetExecutable() && a.GetCommand() == b.GetCommand() && a.GetLanguage() == b.GetLanguage() &&
		a.GetOtelServiceName() == b.GetOtelServiceName() && a.GetOtelResourceAttributes() == b.GetOtelResourceAttributes() &&
		a.GetContainerId() == b.GetContainerId() && a.GetHostName() == b.GetHostName() && sameContainer(a.GetContainer(), b.GetContainer())
}

func sameContainer(a, b *eventv1.Container) bool {
	return (a == nil) == (b == nil) && a.GetName() == b.GetName() && a.GetImage() == b.GetImage() && maps.Equal(a.GetLabels(), b.GetLabels())
}

func cloneProcess(p *eventv1.Process) *eventv1.Process {
	out := &eventv1.Process{
		Pid: p.GetPid(), StartUnixNano: p.GetStartUnixNano(), Language: p.GetLanguage(),
		Executable: strings.Clone(p.GetExecutable()), Command: strings.Clone(p.GetCommand()), ContainerId: strings.Clone(p.GetContainerId()),
		HostName: strings.Clone(p.GetHostName()), OtelServiceName: strings.Clone(p.GetOtelServiceName()), OtelResourceAttributes: strings.Clone(p.GetOtelResourceAttributes()),
	}
	if c := p.GetContainer(); c != nil {
		out.Container = &eventv1.Container{Name: strings.Clone(c.GetName()), Image: strings.Clone(c.GetImage()), Labels: map[string]string{}}
		for k, v := range c.GetLabels() {
			out.Container.Labels[strings.Clone(k)] = strings.Clone(v)
		}
	}
	return out
}

func sameHost(a, b *eventv1.Host) bool {
	return a.GetId() == b.GetId() && a.GetArchitecture() == b.GetArchitecture() && a.GetKernel() == b.GetKernel() &&
		a.GetOsName() == b.GetOsName() && a.GetOsVersion() == b.GetOsVersion() && a.GetOsDescription() == b.GetOsDescription() &&
		a.GetCloudProvider() == b.GetCloudProvider() && a.GetCloudInstance() == b.GetCloudInstance() && a.GetCloudType() == b.GetCloudType()
}

func cloneHost(h *eventv1.Host) *eventv1.Host {
	return &eventv1.Host{
		Id: strings.Clone(h.GetId()), Architecture: strings.Clone(h.GetArchitecture()), Kernel: strings.Clone(h.GetKernel()),
		OsName: strings.Clone(h.GetOsName()), OsVersion: strings.Clone(h.GetOsVersion()), OsDescription: strings.Clone(h.GetOsDescription()),
		CloudProvider: strings.Clone(h.GetCloudProvider()), CloudInstance: strings.Clone(h.GetCloudInstance()), CloudType: strings.Clone(h.GetCloudType()),
	}
}
