// SPDX-License-Identifier: Apache-2.0

package ident_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/services/enricher/internal/ident"
)

var by = ident.Producer{Name: "busbar", Version: "v1.2.3"}

func TestName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name            string
		process         *eventv1.Process
		want, namespace string
		malformed       bool
	}{
		{"variable", &eventv1.Process{OtelServiceName: "cart", OtelResourceAttributes: "service.name=other", Executable: "/bin/x"}, "cart", "", false},
		{"attribute", &eventv1.Process{OtelResourceAttributes: "service.namespace=shop, service.name = my%20cart ,", Executable: "/bin/x"}, "my cart", "shop", false},
		{"last attribute wins", &eventv1.Process{OtelResourceAttributes: "service.name=a,service.name=b"}, "b", "", false},
		{"encoded comma and equals", &eventv1.Process{OtelResourceAttributes: "service%2Ename=a%2Cb%3Dc+d"}, "a,b=c+d", "", false},
		{"executable", &eventv1.Process{Executable: "/usr/bin/python3.11", Command: "gunicorn"}, "python3.11", "", false},
		{"replaced executable", &eventv1.Process{Executable: "/srv/shop (deleted)"}, "shop", "", false},
		{"command", &eventv1.Process{Command: "kworker"}, "kworker", "", false},
		{"root", &eventv1.Process{Executable: "/", Command: "odd"}, "odd", "", false},
		{"nothing", &eventv1.Process{}, "unknown_service", "", false},
		{"malformed percent", &eventv1.Process{OtelResourceAttributes: "service.name=a,b=%zz", Executable: "/bin/x"}, "x", "", true},
		{"malformed pair", &eventv1.Process{OtelResourceAttributes: "service.name", Executable: "/bin/x"}, "x", "", true},
		{"no UTF-8", &eventv1.Process{OtelServiceName: "a\xffb"}, "ab", "", false},
		{"only no UTF-8", &eventv1.Process{OtelServiceName: "\xff", Executable: "/bin/x"}, "x", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			id, err := ident.Of(ident.Source{Process: tc.process, Node: "node-1"}, by)
			if id.Name != tc.want || id.Namespace != tc.namespace || (err != nil) != tc.malformed {
				t.Errorf("name %q, namespace %q, error %v", id.Name, id.Namespace, err)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	id, err := ident.Of(ident.Source{Node: "node-1", Process: &eventv1.Process{
		Pid: 4711, Executable: "/usr/bin/node", Language: eventv1.Language_LANGUAGE_NODEJS, ContainerId: strings.Repeat("ab", 32),
		OtelServiceName:        "cart",
		OtelResourceAttributes: "service.name=x,service.version=1.4,deployment.environment.name=prod,host.name=real,telemetry.sdk.name=fake,empty=",
	}}, by)
	want := []ident.Attribute{
		{Key: "container.id", Text: strings.Repeat("ab", 32)},
		{Key: "deployment.environment.name", Text: "prod"},
		{Key: "host.name", Text: "real"},
		{Key: "os.type", Text: "linux"},
		{Key: "process.executable.name", Text: "node"},
		{Key: "process.pid", Int: 4711},
		{Key: "service.instance.id", Text: "node-1:4711"},
		{Key: "service.name", Text: "cart"},
		{Key: "service.version", Text: "1.4"},
		{Key: "telemetry.distro.name", Text: "busbar"},
		{Key: "telemetry.distro.version", Text: "v1.2.3"},
		{Key: "telemetry.sdk.language", Text: "nodejs"},
		{Key: "telemetry.sdk.name", Text: "busbar"},
		{Key: "telemetry.sdk.version", Text: "v1.2.3"},
	}
	if d := cmp.Diff(want, id.Attributes); d != "" || err != nil {
		t.Errorf("error %v, attributes (-want +got):\n%s", err, d)
	}
}

func FuzzOf(f *testing.F) {
	f.Add("cart", "a=b,service.namespace=%41", "/bin/x", "node", "resource.opentelemetry.io/team", "x", "registry:5000/a/b:1@sha256:x", "aws:///eu-central-1a/i-1")
	f.Fuzz(func(t *testing.T, name, attributes, executable, node, key, value, image, provider string) {
		labels := map[string]string{key: value, "app.kubernetes.io/name": name}
		for _, s := range []ident.Source{
			{},
			{Pod: &kubev1.Pod{Name: name, Namespace: value, Node: node, Labels: labels, Annotations: labels}, Container: &kubev1.Container{Name: key, Image: image}},
		} {
			s.Process = &eventv1.Process{
				OtelServiceName: name, OtelResourceAttributes: attributes, Executable: executable,
				Container: &eventv1.Container{Name: value, Image: image, Labels: labels},
			}
			s.Node, s.KubeNode = node, &kubev1.Node{Name: node, ProviderId: provider, Labels: labels}
			id, _ := ident.Of(s, by)
			if id.Name == "" || len(id.Attributes) > 180 {
				t.Fatalf("%+v", id)
			}
			for i, a := range id.Attributes {
				if i > 0 && id.Attributes[i-1].Key >= a.Key || a.Key == "" || len(a.Text) > 1024 || !utf8.ValidString(a.Key+a.Text) {
					t.Fatalf("attribute %d of %+v", i, id.Attributes)
				}
			}
		}
	})
}
