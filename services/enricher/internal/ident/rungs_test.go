// SPDX-License-Identifier: Apache-2.0

package ident_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/services/enricher/internal/ident"
)

var update = flag.Bool("update", false, "rewrite golden files")

// inPod is a process of which everything is known that can be.
func inPod() ident.Source {
	return ident.Source{
		Process: &eventv1.Process{
			Pid: 4711, Executable: "/usr/bin/node", Language: eventv1.Language_LANGUAGE_NODEJS, ContainerId: strings.Repeat("ab", 32),
			OtelServiceName: "by-env", OtelResourceAttributes: "service.name=by-attribute,service.namespace=ns-by-env,service.version=v-by-env",
		},
		Node: "node-1",
		Host: &eventv1.Host{
			Id: "3d1219c7c4c5404aaa1f6d2a48adfda4", Architecture: "arm64", Kernel: "6.12.1", OsName: "Debian GNU/Linux", OsVersion: "13",
			OsDescription: "Debian GNU/Linux 13 (trixie)",
		},
		Pod: &kubev1.Pod{
			Uid: "1b2c-3d4e", Name: "cart-5d9c-x7", Namespace: "shop", Node: "node-1", StartUnixNano: 1_700_000_000_000_000_000,
			Labels: map[string]string{
				"app.kubernetes.io/instance": "by-instance", "app.kubernetes.io/name": "by-name", "app.kubernetes.io/part-of": "ns-by-part-of",
				"app.kubernetes.io/version": "v-by-label",
			},
			Annotations: map[string]string{
				"resource.opentelemetry.io/service.name":      "by-annotation",
				"resource.opentelemetry.io/service.namespace": "ns-by-annotation",
				"resource.opentelemetry.io/service.version":   "v-by-annotation",
				"resource.opentelemetry.io/team":              "checkout",
				"busbar.dev/sample":                           "0.1",
			},
			Owners:     []*kubev1.Owner{{Kind: "ReplicaSet", Name: "cart-5d9c"}, {Kind: "Deployment", Name: "cart"}},
			Containers: []*kubev1.Container{{Name: "app", Id: strings.Repeat("ab", 32), Image: "registry.example:5000/shop/cart:1.4@sha256:00"}},
		},
		Container: &kubev1.Container{Name: "app", Id: strings.Repeat("ab", 32), Image: "registry.example:5000/shop/cart:1.4@sha256:00"},
		KubeNode: &kubev1.Node{Name: "node-1", ProviderId: "aws:///eu-central-1a/i-0123456789abcdef0", Labels: map[string]string{
			"topology.kubernetes.io/region": "eu-central-1", "topology.kubernetes.io/zone": "eu-central-1a", "node.kubernetes.io/instance-type": "m7g.large",
		}},
		Cluster: "prod",
	}
}

// TestRungs takes away one source of a name after the other, and holds every resource on the way against a file.
func TestRungs(t *testing.T) {
	t.Parallel()
	s := inPod()
	steps := []struct {
		without string
		remove  func()
		want    string // namespace/name version
	}{
		{"nothing", func() {}, "ns-by-env/by-env v-by-env"},
		{"OTEL_SERVICE_NAME", func() { s.Process.OtelServiceName = "" }, "ns-by-env/by-attribute v-by-env"},
		{"OTEL_RESOURCE_ATTRIBUTES", func() { s.Process.OtelResourceAttributes = "" }, "ns-by-annotation/by-annotation v-by-annotation"},
		{"annotations", func() { s.Pod.Annotations = nil }, "ns-by-part-of/by-instance v-by-label"},
		{"app.kubernetes.io/instance", func() { delete(s.Pod.Labels, "app.kubernetes.io/instance") }, "ns-by-part-of/by-name v-by-label"},
		{"labels", func() { s.Pod.Labels = nil }, "shop/cart 1.4"},
		{"Deployment", func() { s.Pod.Owners = s.Pod.GetOwners()[:1] }, "shop/cart-5d9c 1.4"},
		{"owners", func() { s.Pod.Owners = nil }, "shop/cart-5d9c-x7 1.4"},
		{"tag", func() { s.Container.Image = "shop/cart@sha256:00" }, "shop/cart-5d9c-x7 "},
		{"node", func() { s.KubeNode, s.Host = nil, nil }, "shop/cart-5d9c-x7 "},
		{"pod, but its runtime knows it", func() {
			s.Pod, s.Container = nil, nil
			s.Process.Container = &eventv1.Container{Name: "app", Image: "shop/cart:latest", Labels: map[string]string{
				"io.kubernetes.pod.name": "cart-5d9c-x7", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "1b2c-3d4e", "io.kubernetes.container.name": "app",
			}}
		}, "shop/app "},
		{"Kubernetes, by Compose", func() {
			s.Process.Container = &eventv1.Container{Name: "shop-cart-1", Image: "shop/cart:1.4", Labels: map[string]string{
				"com.docker.compose.project": "shop", "com.docker.compose.service": "cart", "resource.opentelemetry.io/team": "checkout",
			}}
		}, "shop/cart 1.4"},
		{"Compose, by Swarm", func() {
			s.Process.Container = &eventv1.Container{Name: "shop_cart.1.x7", Image: "sha256:00", Labels: map[string]string{
				"com.docker.stack.namespace": "shop", "com.docker.swarm.service.name": "shop_cart", "org.opencontainers.image.version": "1.5",
			}}
		}, "shop/cart 1.5"},
		{"labels of the container", func() { s.Process.Container = &eventv1.Container{Name: "lonely", Image: "busybox:1.36"} }, "/lonely 1.36"},
		{"runtime", func() { s.Process.Container = nil }, "/node "},
		{"container", func() { s.Process.ContainerId = "" }, "/node "},
		{"executable", func() { s.Process.Executable, s.Process.Command = "", "worker" }, "/worker "},
		{"anything", func() { s.Process.Command = "" }, "/unknown_service "},
	}
	var out bytes.Buffer
	for _, step := range steps {
		step.remove()
		id, err := ident.Of(s, by)
		if err != nil {
			t.Fatal(err)
		}
		version := ""
		fmt.Fprintf(&out, "# without %s\n", step.without)
		for _, a := range id.Attributes {
			switch {
			case a.Key == "service.version":
				version = a.Text
				fallthrough
			case a.List || a.Int == 0:
				fmt.Fprintf(&out, "%s=%s\n", a.Key, a.Text)
			default:
				fmt.Fprintf(&out, "%s=%d\n", a.Key, a.Int)
			}
		}
		if got := id.Namespace + "/" + id.Name + " " + version; got != step.want {
			t.Errorf("without %s: %q, want %q", step.without, got, step.want)
		}
		out.WriteByte('\n')
	}
	golden := filepath.Join("testdata", "rungs.golden")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWorkloads(t *testing.T) {
	t.Parallel()
	owners := func(kindAndName ...string) (out []*kubev1.Owner) {
		for i := 0; i < len(kindAndName); i += 2 {
			out = append(out, &kubev1.Owner{Kind: kindAndName[i], Name: kindAndName[i+1]})
		}
		return out
	}
	for name, tc := range map[string]struct {
		owners []*kubev1.Owner
		pod    string
		want   string // name, then attributes
	}{
		"Deployment":         {owners("ReplicaSet", "a-1", "Deployment", "a"), "a-1-x", "a k8s.deployment.name=a k8s.kind=Deployment k8s.owner.name=a k8s.replicaset.name=a-1"},
		"StatefulSet":        {owners("StatefulSet", "db"), "db-0", "db k8s.kind=StatefulSet k8s.owner.name=db k8s.statefulset.name=db"},
		"DaemonSet":          {owners("DaemonSet", "agent"), "agent-x", "agent k8s.daemonset.name=agent k8s.kind=DaemonSet k8s.owner.name=agent"},
		"CronJob":            {owners("Job", "nightly-28", "CronJob", "nightly"), "nightly-28-x", "nightly k8s.cronjob.name=nightly k8s.job.name=nightly-28 k8s.kind=CronJob k8s.owner.name=nightly"},
		"Job":                {owners("Job", "migrate"), "migrate-x", "migrate k8s.job.name=migrate k8s.kind=Job k8s.owner.name=migrate"},
		"of an operator":     {owners("ReplicaSet", "a-1", "Rollout", "a"), "a-1-x", "a k8s.kind=Rollout k8s.owner.name=a k8s.replicaset.name=a-1"},
		"nobody":             {nil, "lonely", "lonely"},
		"static":             {owners("Node", "node-1"), "kube-apiserver-node-1", "kube-apiserver"},
		"static, odd":        {owners("Node", "node-1"), "-node-1", "-node-1"},
		"a name of no bytes": {owners("Job", ""), "x", "x k8s.kind=Job"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := ident.Of(ident.Source{Process: &eventv1.Process{}, Pod: &kubev1.Pod{Name: tc.pod, Namespace: "ns", Owners: tc.owners}}, by)
			if err != nil {
				t.Fatal(err)
			}
			got := id.Name
			for _, a := range id.Attributes {
				if strings.HasPrefix(a.Key, "k8s.") && a.Key != "k8s.pod.name" && a.Key != "k8s.namespace.name" {
					got += " " + a.Key + "=" + a.Text
				}
			}
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestCloud(t *testing.T) {
	t.Parallel()
	dmi := &eventv1.Host{Id: "machine", CloudProvider: "aws", CloudInstance: "i-1", CloudType: "m7i.large"}
	for name, tc := range map[string]struct {
		host   *eventv1.Host
		id     string
		labels map[string]string
		want   string
	}{
		"none":            {&eventv1.Host{Id: "machine"}, "", nil, "host.id=machine"},
		"firmware":        {dmi, "", nil, "cloud.provider=aws host.id=i-1 host.type=m7i.large"},
		"aws":             {dmi, "aws:///us-gov-east-1a/i-2", nil, "cloud.availability_zone=us-gov-east-1a cloud.provider=aws cloud.region=us-gov-east-1 host.id=i-2 host.type=m7i.large"},
		"fargate":         {nil, "aws:///us-east-1b/fargate-ip-10-0-0-1", nil, "cloud.availability_zone=us-east-1b cloud.provider=aws cloud.region=us-east-1"},
		"gce":             {nil, "gce://my-project/europe-west3-a/gke-1", nil, "cloud.account.id=my-project cloud.availability_zone=europe-west3-a cloud.provider=gcp cloud.region=europe-west3"},
		"azure":           {&eventv1.Host{Id: "machine"}, "azure:///subscriptions/0-1/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v", map[string]string{"topology.kubernetes.io/region": "westeurope", "topology.kubernetes.io/zone": "0"}, "cloud.account.id=0-1 cloud.provider=azure cloud.region=westeurope host.id=machine"},
		"hetzner":         {nil, "hcloud://123", map[string]string{"topology.kubernetes.io/region": "fsn1"}, "cloud.provider=hetzner cloud.region=fsn1"},
		"no cloud":        {nil, "kind://docker/kind/kind-control-plane", nil, ""},
		"own data centre": {nil, "", map[string]string{"topology.kubernetes.io/region": "north", "topology.kubernetes.io/zone": "rack-7"}, "cloud.availability_zone=rack-7 cloud.region=north"},
		"odd":             {nil, "aws://", nil, "cloud.provider=aws"},
		"no id":           {nil, "cn-hangzhou.i-1", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ident.Source{Process: &eventv1.Process{}, Host: tc.host, KubeNode: &kubev1.Node{ProviderId: tc.id, Labels: tc.labels}}
			id, err := ident.Of(s, by)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range id.Attributes {
				if strings.HasPrefix(a.Key, "cloud.") || a.Key == "host.id" || a.Key == "host.type" {
					got = append(got, a.Key+"="+a.Text)
				}
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
