// SPDX-License-Identifier: Apache-2.0

package ident_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/services/enricher/internal/ident"
)

// cluster has one pod and one node.
type cluster struct {
	pod  *kubev1.Pod
	node *kubev1.Node
}

func (c *cluster) Process(id, _ string) (*kubev1.Pod, *kubev1.Container) {
	for _, have := range c.pod.GetContainers() {
		if have.GetId() == id {
			return c.pod, have
		}
	}
	return nil, nil
}

func (c *cluster) Node(name string) *kubev1.Node {
	if c.node.GetName() == name {
		return c.node
	}
	return nil
}

func (*cluster) Cluster() string { return "prod" }

// encode counts how often it is called.
func encode(calls *int) func([]ident.Attribute) []byte {
	return func(a []ident.Attribute) []byte {
		*calls++
		return fmt.Append(nil, a)
	}
}

func TestBookRemembers(t *testing.T) {
	t.Parallel()
	at := inPod()
	c, calls := &cluster{at.Pod, at.KubeNode}, 0
	book := ident.NewBook(c, by, encode(&calls))
	origin := func() *eventv1.Origin { return &eventv1.Origin{Node: "node-1", Host: at.Host} }
	process := func() *eventv1.Process {
		return &eventv1.Process{Pid: 1, StartUnixNano: 2, ContainerId: at.Process.GetContainerId(), Executable: "/bin/x"}
	}
	steps := []struct {
		name   string
		change func(o *eventv1.Origin, p *eventv1.Process)
		anew   bool
		want   string
	}{
		{"first", nil, true, "by-annotation"},
		{"again", nil, false, "by-annotation"},
		{"its environment is read late", func(_ *eventv1.Origin, p *eventv1.Process) { p.OtelServiceName = "cart" }, true, "cart"},
		{"and again", func(_ *eventv1.Origin, p *eventv1.Process) { p.OtelServiceName = "cart" }, false, "cart"},
		{"another program", func(_ *eventv1.Origin, p *eventv1.Process) { p.StartUnixNano++ }, true, "by-annotation"},
		{"another machine", func(o *eventv1.Origin, _ *eventv1.Process) { o.Node = "node-2" }, true, "by-annotation"},
		{"a new kernel", func(o *eventv1.Origin, _ *eventv1.Process) { o.Host = &eventv1.Host{Kernel: "7"} }, true, "by-annotation"},
		{"the pod is told anew", func(*eventv1.Origin, *eventv1.Process) {
			c.pod = &kubev1.Pod{Name: "p", Namespace: "ns", Containers: at.Pod.GetContainers()}
		}, true, "p"},
		{"and is the same", nil, false, "p"},
		{"the pod is gone", func(*eventv1.Origin, *eventv1.Process) { c.pod = nil }, true, "x"},
	}
	for _, step := range steps {
		o, p, before := origin(), process(), calls
		if step.change != nil {
			step.change(o, p)
		}
		known := book.Machine(o).Of(p)
		if known.Name != step.want || (calls > before) != step.anew {
			t.Errorf("%s: name %q, made anew: %v", step.name, known.Name, calls > before)
		}
		if d := cmp.Diff(fmt.Sprint(known.Attributes), string(known.Resource)); d != "" {
			t.Errorf("%s: %s", step.name, d)
		}
	}
}

// Texts of a batch are pieces of a buffer that others may write to afterwards.
func TestBookKeepsNoTextOfABatch(t *testing.T) {
	t.Parallel()
	calls := 0
	book := ident.NewBook(&cluster{}, by, encode(&calls))
	wire := &eventv1.ExchangeBatch{
		Origin: &eventv1.Origin{Node: "node-1", Host: &eventv1.Host{Id: "machine", OsName: "Debian"}},
		Processes: []*eventv1.Process{{
			Executable: "/srv/shop", OtelServiceName: "cart", OtelResourceAttributes: "team=a", ContainerId: "abab",
			Container: &eventv1.Container{Name: "c", Image: "i:1", Labels: map[string]string{"resource.opentelemetry.io/x": "y"}},
		}},
	}
	data, err := wire.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	batch := new(eventv1.ExchangeBatch)
	if err := batch.UnmarshalVTUnsafe(data); err != nil {
		t.Fatal(err)
	}
	known := book.Machine(batch.GetOrigin()).Of(batch.GetProcesses()[0])
	before := strings.Clone(fmt.Sprint(known.Identity))
	for i := range data {
		data[i] = '!'
	}
	if after := fmt.Sprint(known.Identity); after != before || known.Name != "cart" {
		t.Errorf("%s\nbecame %s", before, after)
	}
	if again := book.Machine(wire.GetOrigin()).Of(wire.GetProcesses()[0]); again != known || calls != 1 {
		t.Errorf("it is not found any more: %d calls", calls)
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	id, calls := strings.Repeat("ab", 32), 0
	for name, tc := range map[string]struct {
		pod     *kubev1.Pod
		process *eventv1.Process
		want    ident.Network
	}{
		"machine":                     {nil, &eventv1.Process{}, ident.Network{Node: "n"}},
		"container":                   {nil, &eventv1.Process{ContainerId: id, HostName: "ababab"}, ident.Network{Node: "n", Name: id, Private: true}},
		"container with host network": {nil, &eventv1.Process{ContainerId: id}, ident.Network{Node: "n"}},
		"host name of its own":        {nil, &eventv1.Process{HostName: "jail"}, ident.Network{Node: "n"}},
		"pod":                         {&kubev1.Pod{Uid: "1"}, &eventv1.Process{ContainerId: id, HostName: "p"}, ident.Network{Node: "n", Name: "1"}},
		"pod with host network":       {&kubev1.Pod{Uid: "1", HostNetwork: true}, &eventv1.Process{ContainerId: id}, ident.Network{Node: "n"}},
	} {
		if tc.pod != nil {
			tc.pod.Containers = []*kubev1.Container{{Id: id}}
		}
		book := ident.NewBook(&cluster{pod: tc.pod}, by, encode(&calls))
		if got := book.Machine(&eventv1.Origin{Node: "n"}).Of(tc.process).Network; got != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestBookIsBounded(t *testing.T) {
	t.Parallel()
	const others = 3 * 4096
	calls := 0
	book := ident.NewBook(&cluster{}, by, encode(&calls))
	m := book.Machine(&eventv1.Origin{Node: "n"})
	for i := range uint32(others) {
		m.Of(&eventv1.Process{Pid: i + 2})
		m.Of(&eventv1.Process{Pid: 1}) // always in use
	}
	if calls != others+1 {
		t.Errorf("%d identities made for %d processes", calls, others+1)
	}
	m.Of(&eventv1.Process{Pid: 2})
	if calls != others+2 {
		t.Error("nothing is forgotten")
	}
}

func BenchmarkBook(b *testing.B) {
	at, calls := inPod(), 0
	book := ident.NewBook(&cluster{at.Pod, at.KubeNode}, by, encode(&calls))
	origin := &eventv1.Origin{Node: "node-1", Host: at.Host}
	b.ReportAllocs()
	for b.Loop() {
		book.Machine(origin).Of(at.Process)
	}
}
