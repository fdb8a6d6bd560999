// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

func raw(address string) []byte { return netip.MustParseAddr(address).AsSlice() }

// id is a container id that begins with a text.
func id(text string) string { return text + strings.Repeat("0", 64-len(text)) }

func pod(uid, address, container string, start, end uint64) *kubev1.Pod {
	p := &kubev1.Pod{Uid: uid, Name: "pod-" + uid, Namespace: "shop", StartUnixNano: start, EndUnixNano: end}
	if address != "" {
		p.Addresses = [][]byte{raw(address)}
	}
	if container != "" {
		p.Containers = []*kubev1.Container{{Name: "main", Id: id(container)}}
	}
	return p
}

func (d *Directory) take(t *testing.T, m Message) {
	t.Helper()
	kinds := map[string]Kind{"*kubev1.Pod": KindPod, "*kubev1.Service": KindService, "*kubev1.Node": KindNode}
	d.put(kinds[fmt.Sprintf("%T", m)], m, d.Version()+1, 1, time.Unix(0, 0))
}

// whose is the uid of who has an address.
func (d *Directory) whose(address string) string {
	p, _ := d.Peer(netip.MustParseAddr(address))
	return p.UID
}

func TestNothingIsKnownOutsideKubernetes(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*Directory{"nil": nil, "empty": NewDirectory()} {
		pod, container := d.Process(id("a"), "/docker/"+id("a"))
		_, peer := d.Peer(netip.MustParseAddr("10.0.0.1"))
		if pod != nil || container != nil || peer || d.Node("n") != nil || d.Pod("u") != nil || d.Version() != 0 || d.Cluster() != "" {
			t.Errorf("a directory that is %s knows something", name)
		}
	}
}

func TestContainersOfAPodFollowItsMessages(t *testing.T) {
	t.Parallel()
	d := NewDirectory()
	d.take(t, pod("1", "", "a", 1, 0))
	before := d.Version()
	d.take(t, pod("1", "", "b", 1, 0))
	if p, _ := d.Container(id("a")); p != nil {
		t.Errorf("a container that its pod does not have any more is of %s", p.GetName())
	}
	p, c := d.Container(id("b"))
	if p.GetUid() != "1" || c.GetName() != "main" {
		t.Errorf("pod %v, container %v", p, c)
	}
	if d.Version() == before {
		t.Error("nobody is told of the change")
	}
}

// Pods that share a network, or the process ids of their node, are told apart by container, and have no address.
func TestPodsOfOneHost(t *testing.T) {
	t.Parallel()
	d := NewDirectory()
	d.take(t, &kubev1.Node{Uid: "n", Name: "node-1", Addresses: [][]byte{raw("192.0.2.1")}})
	for _, uid := range []string{"1", "2"} {
		p := pod(uid, "", uid, 1, 0)
		p.HostNetwork = true
		d.take(t, p)
	}
	for _, uid := range []string{"1", "2"} {
		if p, _ := d.Container(id(uid)); p.GetUid() != uid {
			t.Errorf("container %s is of %v", uid, p)
		}
	}
	if got := d.whose("192.0.2.1"); got != "n" || d.Node("node-1") == nil {
		t.Errorf("the address of the node is %q's", got)
	}
}

func TestAddressesAreUsedAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pods []*kubev1.Pod
		want string
	}{
		"the next one starts":                 {[]*kubev1.Pod{pod("1", "10.0.0.1", "", 1, 0), pod("2", "10.0.0.1", "", 2, 0)}, "2"},
		"the last one ends late":              {[]*kubev1.Pod{pod("1", "10.0.0.1", "", 1, 0), pod("2", "10.0.0.1", "", 2, 0), pod("1", "10.0.0.1", "", 1, 9)}, "2"},
		"it is known late":                    {[]*kubev1.Pod{pod("2", "10.0.0.1", "", 2, 0), pod("1", "10.0.0.1", "", 1, 9)}, "2"},
		"nobody else has it":                  {[]*kubev1.Pod{pod("1", "10.0.0.1", "", 1, 0), pod("1", "10.0.0.1", "", 1, 9)}, "1"},
		"both have ended":                     {[]*kubev1.Pod{pod("1", "10.0.0.1", "", 1, 9), pod("2", "10.0.0.1", "", 2, 8)}, "2"},
		"given back":                          {[]*kubev1.Pod{pod("1", "10.0.0.1", "", 1, 0), pod("1", "", "", 1, 0)}, ""},
		"an IPv4 address in the form of IPv6": {[]*kubev1.Pod{pod("1", "::ffff:10.0.0.1", "", 1, 0)}, "1"},
	} {
		d := NewDirectory()
		for _, p := range tc.pods {
			d.take(t, p)
		}
		if got := d.whose("10.0.0.1"); got != tc.want {
			t.Errorf("%s: the address is %q's, want %q", name, got, tc.want)
		}
	}
}

func TestPeersOfEveryKind(t *testing.T) {
	t.Parallel()
	d := NewDirectory()
	d.take(t, &kubev1.Service{Uid: "s", Name: "cart", Namespace: "shop", Addresses: [][]byte{raw("10.96.0.7"), raw("192.0.2.1"), raw("2001:db8::7")}})
	d.take(t, &kubev1.Node{Uid: "n", Name: "node-1", Addresses: [][]byte{raw("192.0.2.1")}})
	d.take(t, pod("p", "10.0.0.1", "", 1, 0))
	for address, want := range map[string]string{"10.96.0.7": "s", "2001:db8::7": "s", "192.0.2.1": "n", "10.0.0.1": "p", "::ffff:10.0.0.1": "p", "10.0.0.2": ""} {
		if got := d.whose(address); got != want {
			t.Errorf("%s is %q's, want %q", address, got, want)
		}
	}
	if p, _ := d.Peer(netip.MustParseAddr("10.96.0.7")); p.Name != "cart" || p.Namespace != "shop" || p.Kind != KindService || p.Pod != nil {
		t.Errorf("peer %+v", p)
	}
}

func TestWhatEndedIsKnownForAWhile(t *testing.T) {
	t.Parallel()
	d := NewDirectory()
	d.take(t, pod("1", "10.0.0.1", "a", 1, 5))
	d.put(KindPod, pod("1", "10.0.0.1", "a", 1, 6), 2, 1, time.Unix(60, 0)) // does not prolong it
	d.expire(time.Unix(0, 0).Add(Keep))
	if p, _ := d.Container(id("a")); p == nil {
		t.Error("it is forgotten too early")
	}
	d.expire(time.Unix(0, 1).Add(Keep))
	if p, _ := d.Container(id("a")); p != nil || d.whose("10.0.0.1") != "" || d.Pod("1") != nil {
		t.Error("it is never forgotten")
	}
}

func TestSweepForgetsWhatTheBusHasNoMore(t *testing.T) {
	t.Parallel()
	d := NewDirectory()
	d.take(t, pod("1", "", "a", 1, 0))
	d.take(t, pod("2", "", "b", 1, 0))
	d.put(KindPod, pod("2", "", "b", 1, 0), 2, 2, time.Now())
	d.sweep(2)
	if d.Pod("1") != nil || d.Pod("2") == nil {
		t.Error("the wrong ones are forgotten")
	}
}

func TestProcessesByCgroup(t *testing.T) {
	t.Parallel()
	d := NewDirectory()
	d.take(t, pod("1b2c-3d", "", "a", 1, 0))
	static := pod("ffff", "", "b", 1, 0)
	static.Annotations = map[string]string{configHash: "abcdef0123456789"}
	d.take(t, static)
	for name, tc := range map[string]struct{ container, cgroup, pod, name string }{
		"by container":        {id("a"), "/anything", "1b2c-3d", "main"},
		"cgroupfs":            {id("x"), "/kubepods/burstable/pod1b2c-3d/" + id("x"), "1b2c-3d", "main"},
		"systemd":             {"", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1b2c_3d.slice/cri-containerd-" + id("x") + ".scope", "1b2c-3d", "main"},
		"guaranteed, systemd": {"", "/kubepods.slice/kubepods-pod1b2c_3d.slice", "1b2c-3d", "main"},
		"containerd by name":  {"", "/system.slice/containerd.service/kubepods-pod1b2c_3d.slice:cri-containerd:" + id("x"), "1b2c-3d", "main"},
		"kind":                {"", "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod1b2c_3d.slice/x", "1b2c-3d", "main"},
		"static":              {id("x"), "/k8slab/kubepods/podabcdef0123456789/" + id("x"), "ffff", "main"},
		"docker":              {id("x"), "/docker/" + id("x"), "", ""},
		"podman":              {id("x"), "/machine.slice/libpod_pod1b2c_3d.slice/libpod-" + id("x") + ".scope", "", ""},
		"unknown":             {id("x"), "/kubepods/pod9999/" + id("x"), "", ""},
	} {
		p, c := d.Process(tc.container, tc.cgroup)
		if p.GetUid() != tc.pod || c.GetName() != tc.name {
			t.Errorf("%s: pod %q, container %q", name, p.GetUid(), c.GetName())
		}
	}
}

func FuzzPodUID(f *testing.F) {
	f.Add("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1b2c_3d.slice/cri-containerd-1.scope")
	f.Add("/kubepods/pod/x:pod-:-pod.slice")
	f.Fuzz(func(t *testing.T, cgroup string) {
		if uid := PodUID(cgroup); uid != "" && (!isUID(uid) || !Managed(cgroup)) {
			t.Errorf("%q gives %q", cgroup, uid)
		}
	})
}
