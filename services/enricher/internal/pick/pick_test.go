// SPDX-License-Identifier: Apache-2.0

package pick_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/enricher/internal/pick"
)

func compile(t *testing.T, specs ...string) (*pick.Selectors, config.Faults) {
	t.Helper()
	var b strings.Builder
	for i, spec := range specs {
		fmt.Fprintf(&b, "---\napiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: r%d}\nspec: %s\n", i, spec)
	}
	set, err := config.Parse(configv1.Kinds(), config.Source{Name: "test.yaml", Data: []byte(b.String())})
	if err != nil {
		t.Fatal(err)
	}
	return pick.Compile(set)
}

func pods() []*kubev1.Pod {
	return []*kubev1.Pod{
		{
			Name: "cart-7d-x", Namespace: "shop", Node: "n1", Labels: map[string]string{"app": "cart", "tier": "web", "empty": ""},
			Annotations: map[string]string{"team": "checkout"},
			Owners:      []*kubev1.Owner{{Kind: "ReplicaSet", Name: "cart-7d"}, {Kind: "Deployment", Name: "cart"}},
			Containers:  []*kubev1.Container{{Name: "cart", Id: "cart"}, {Name: "proxy", Id: "proxy"}, {Name: "starting"}},
		},
		{
			Name: "db-0", Namespace: "shop", Node: "n2", Labels: map[string]string{"app": "db"},
			Owners:     []*kubev1.Owner{{Kind: "StatefulSet", Name: "db"}},
			Containers: []*kubev1.Container{{Name: "db", Id: "db"}},
		},
		{
			Name: "report-1-z", Namespace: "batch", Node: "n2",
			Owners:     []*kubev1.Owner{{Kind: "Job", Name: "report-1"}, {Kind: "CronJob", Name: "report"}},
			Containers: []*kubev1.Container{{Name: "run", Id: "report"}},
		},
		{
			Name: "shy", Namespace: "batch", Node: "n2", Annotations: map[string]string{"busbar.dev/observe": "false"},
			Containers: []*kubev1.Container{{Name: "run", Id: "shy"}},
		},
		{
			Name: "odd", Namespace: "batch", Node: "n2", Annotations: map[string]string{"busbar.dev/observe": "perhaps"},
			Containers: []*kubev1.Container{{Name: "run", Id: "odd"}},
		},
		{
			Name: "dns", Namespace: "kube-system", Node: "n3", Owners: []*kubev1.Owner{{Kind: "DaemonSet", Name: "dns"}},
			Containers: []*kubev1.Container{{Name: "dns", Id: "dns"}},
		},
		{Name: "pending", Namespace: "shop", Containers: []*kubev1.Container{{Name: "cart", Id: "nowhere"}}},
		{Name: "done", Namespace: "shop", Node: "n1", EndUnixNano: 1, Containers: []*kubev1.Container{{Name: "cart", Id: "done"}}},
		{Name: "quiet", Namespace: "other", Node: "n4", Containers: []*kubev1.Container{{Name: "quiet", Id: "quiet"}}},
	}
}

func TestSelectors(t *testing.T) {
	t.Parallel()
	for selector, want := range map[string]string{
		"{namespace: shop}":                     "cart db proxy",
		"{namespace: 's*'}":                     "cart db proxy",
		"{namespace: shop, container: 'c*'}":    "cart",
		"{pod: 'cart-??-x'}":                    "cart proxy",
		"{pod: cart}":                           "",
		"{node: n2}":                            "db odd report shy",
		"{deployment: cart}":                    "cart proxy",
		"{replicaset: 'cart-*'}":                "cart proxy",
		"{replicaset: cart}":                    "",
		"{statefulset: '*'}":                    "db",
		"{daemonset: dns}":                      "dns",
		"{job: 'report-*'}":                     "report",
		"{cronjob: report}":                     "report",
		"{owner: 'report*'}":                    "report",
		"{owner: '*'}":                          "cart db dns proxy report",
		"{labels: {app: '*'}}":                  "cart db proxy",
		"{labels: {app: cart, tier: 'w*'}}":     "cart proxy",
		"{labels: {app: cart, tier: db}}":       "",
		"{labels: {empty: ''}}":                 "cart proxy",
		"{labels: {app: ''}}":                   "",
		"{labels: {app: 17}}":                   "",
		"{annotations: {team: checkout}}":       "cart proxy",
		"{annotations: {team: '*', other: ''}}": "",
		"{namespace: shop, labels: {app: db}}":  "db",
	} {
		t.Run(selector, func(t *testing.T) {
			t.Parallel()
			s, faults := compile(t, "{select: [{k8s: "+selector+"}]}")
			if faults != nil || s.Len() != 1 {
				t.Fatal(faults, s.Len())
			}
			var got []string
			for _, n := range s.Resolve(slices.Values(pods())) {
				for _, c := range n.GetChoices() {
					if len(c.GetSelectors()) > 0 {
						got = append(got, c.GetContainerId())
					}
				}
			}
			slices.Sort(got)
			if d := cmp.Diff(want, strings.Join(got, " ")); d != "" {
				t.Errorf("containers (-want +got):\n%s", d)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s, faults := compile(t, "{select: [{k8s: {namespace: shop}, openPorts: 80}, {exe: '*'}], exclude: [{k8s: {container: proxy}}]}", "{select: [{k8s: {namespace: shop}}]}")
	if faults != nil {
		t.Fatal(faults)
	}
	shop := (&configv1.KubernetesSelector{Namespace: "shop"}).Key()
	proxy := (&configv1.KubernetesSelector{Container: "proxy"}).Key()
	keys := []string{shop, proxy}
	slices.Sort(keys)
	is, ip := uint32(slices.Index(keys, shop)), uint32(slices.Index(keys, proxy))
	want := map[string]*kubev1.Selection{
		"n1": {Node: "n1", Selectors: keys, Choices: []*kubev1.Choice{
			{ContainerId: "cart", Selectors: []uint32{is}}, {ContainerId: "proxy", Selectors: []uint32{min(is, ip), max(is, ip)}},
		}},
		"n2": {Node: "n2", Selectors: keys, Choices: []*kubev1.Choice{{ContainerId: "db", Selectors: []uint32{is}}, {ContainerId: "shy", OptOut: true}}},
		"n3": {Node: "n3", Selectors: keys, Choices: []*kubev1.Choice{{ContainerId: "dns", System: true}}},
		"n4": {Node: "n4", Selectors: keys},
	}
	all := pods()
	for range 2 {
		if d := cmp.Diff(want, s.Resolve(slices.Values(all)), protocmp.Transform()); d != "" {
			t.Errorf("selections (-want +got):\n%s", d)
		}
		slices.Reverse(all)
	}
}

func TestCompileReportsFaults(t *testing.T) {
	t.Parallel()
	_, faults := compile(t, "{select: [{k8s: {namespace: '[a'}}], exclude: [{k8s: {}}]}")
	if len(faults) != 2 || !strings.Contains(faults.Err().Error(), "test.yaml:5:") {
		t.Errorf("faults %v", faults)
	}
}
