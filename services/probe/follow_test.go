// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/probe"
)

// contain puts a process into a control group that is named as that of a container, and returns the container's id.
func contain(t *testing.T, pid uint32) (id string) {
	t.Helper()
	id = fmt.Sprintf("%064x", uint64(pid)<<32|0xfeed)
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		group := filepath.Join(root, "busbar-test-"+id+".scope")
		if os.Mkdir(group, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			bustest.Eventually(t, "the control group is empty", func() bool { return os.Remove(group) == nil })
		})
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(int(pid))), 0o600); err != nil {
			t.Fatal(err)
		}
		return id
	}
	t.Skip("control groups cannot be made here")
	return ""
}

// choose publishes a selection for the node.
func (r *running) choose(t *testing.T, s *kubev1.Selection) {
	t.Helper()
	data, err := s.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	err = r.bus.Publish(t.Context(), bus.Msg{
		Subject: subject.DefaultRoot.Selection("here"), Data: data, Header: map[string]string{subject.HeaderSchema: subject.SchemaSelection},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestProbeFollowsSelections has one of two containers selected, then the other one while the first opts out, over connections that
// are open all the while.
func TestProbeFollowsSelections(t *testing.T) {
	needKernel(t)
	servers := map[string]string{}    // address by container
	containers := map[string]string{} // by name
	for _, name := range []string{"cart", "mail"} {
		server := ""
		pid := uint32(0)
		pid, server, _ = actor(t, "server")
		containers[name] = contain(t, pid)
		servers[name] = server
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	call := func(phase string) {
		t.Helper()
		for name, address := range servers {
			resp, err := client.Get("http://" + address + "/" + phase + "/" + name + "/200")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	call("early") // opens the connections
	path := filepath.Join(t.TempDir(), "select.yaml")
	text := "apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: x}\nspec: {select: [{k8s: {namespace: shop}, languages: [go]}, {k8s: {namespace: shop}, languages: [java]}]}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	key := (&configv1.KubernetesSelector{Namespace: "shop"}).Key()
	r := start(t, probe.TierAuto, path)
	call("nobody")

	r.choose(t, &kubev1.Selection{Node: "here", Selectors: []string{key}, Choices: []*kubev1.Choice{{ContainerId: containers["cart"], Selectors: []uint32{0}}}})
	bustest.Eventually(t, "the first container is observed", func() bool { call("first"); return r.count(t, "/first/") > 0 })
	call("cart")
	r.await(t, "/cart/cart/", 1)

	r.choose(t, &kubev1.Selection{Node: "here", Selectors: []string{"another", key}, Choices: []*kubev1.Choice{
		{ContainerId: containers["cart"], Selectors: []uint32{1}, OptOut: true}, {ContainerId: containers["mail"], Selectors: []uint32{1}},
	}})
	bustest.Eventually(t, "the other container is observed", func() bool { call("second"); return r.count(t, "/second/mail/") > 0 })
	call("mail")
	r.await(t, "/mail/mail/", 1)
	r.end(t)

	got := map[string]bool{}
	for _, b := range r.stored(t) {
		for _, x := range b.GetExchanges() {
			got[strings.TrimSuffix(x.GetHttp().GetPath(), "/200")] = true
		}
	}
	delete(got, "/second/cart") // until the change is in force
	if d := cmp.Diff(map[string]bool{"/first/cart": true, "/cart/cart": true, "/second/mail": true, "/mail/mail": true}, got); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
}
