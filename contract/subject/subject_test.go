// SPDX-License-Identifier: Apache-2.0

package subject

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestToken(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":            "_",
		"checkout-v2": "checkout-v2",
		"a.b>c*d e":   "a_b_c_d_e",
		"naïve":       "na__ve", // two bytes of UTF-8
		"_":           "_",

		strings.Repeat("a.", 100): strings.Repeat("a_", 64),
	} {
		if got := Token(in); got != want {
			t.Errorf("Token(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOTLPRoundTrip(t *testing.T) {
	t.Parallel()
	got, ok := DefaultRoot.ParseOTLP(DefaultRoot.OTLP(Traces, "default", "", "my.shop"))
	want := OTLPParts{Signal: Traces, Tenant: "default", Namespace: "_", Service: "my_shop"}
	if !ok || got != want {
		t.Errorf("got %+v, %v; want %+v", got, ok, want)
	}
}

func TestOutRoundTrip(t *testing.T) {
	t.Parallel()
	root := Root("acme")
	got, ok := root.ParseOut(root.Out("tempo", Metrics, 7))
	want := OutParts{Destination: "tempo", Signal: Metrics, Shard: 7}
	if !ok || got != want {
		t.Errorf("got %+v, %v; want %+v", got, ok, want)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "busbar", "busbar.otlp.traces.a.b", "busbar.otlp.traces.a.b.c.d", "busbar.otlp.profiles.a.b.c",
		"busbar.otlp.traces.a..c", "other.otlp.traces.a.b.c", "busbar.out.a.traces.x",
		"busbar.out.a.traces.-1", "busbar.out.a.traces.16",
	} {
		if p, ok := DefaultRoot.ParseOTLP(s); ok {
			t.Errorf("ParseOTLP(%q) = %+v", s, p)
		}
		if p, ok := DefaultRoot.ParseOut(s); ok {
			t.Errorf("ParseOut(%q) = %+v", s, p)
		}
	}
}

// Shards decide which exporter owns a series, so their numbers may never change.
func TestShardIsPermanent(t *testing.T) {
	t.Parallel()
	got := []int{Shard("default", "", "checkout"), Shard("default", "shop", "cart"), Shard("", "", "")}
	if diff := cmp.Diff([]int{6, 8, 7}, got); diff != "" {
		t.Error(diff)
	}
}

// What was learned about a service is found again by its hash.
func TestServiceHashIsPermanent(t *testing.T) {
	t.Parallel()
	got := []string{ServiceHash("", "checkout"), ServiceHash("shop", "cart"), ServiceHash("shopc", "art")}
	if diff := cmp.Diff([]string{"1067f91242f2c771", "808f2bc953bf6897", "9497de54ed6dfc5"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEveryStreamTakesItsSubjects(t *testing.T) {
	t.Parallel()
	r := Root("acme")
	for subject, stream := range map[string]Stream{
		r.RawExchange("n1"):                                  r.RawStream(),
		r.RawProcess("n1"):                                   r.RawStream(),
		r.OTLP(Logs, "t", "n", "s"):                          r.OTLPStream(),
		r.Out("my-dest", Traces, 3):                          r.OutStream("my-dest"),
		r.Dead("router", "ottl"):                             r.DeadStream(),
		r.Owners("my-dest"):                                  r.StateStream("my-dest"),
		r.SeriesState("my-dest", 3, 0):                       r.StateStream("my-dest"),
		r.Kube("pod", "1-2-3"):                               r.KubeStream(),
		r.Selection("n1"):                                    r.KubeStream(),
		r.KubeWatcher():                                      r.KubeStream(),
		r.Route("server", "shop", ServiceHash("eu", "shop")): r.RouteStream(),
	} {
		prefix := strings.TrimSuffix(stream.Subjects[0], ">")
		if !strings.HasPrefix(subject, prefix) || !strings.HasPrefix(stream.Name, "ACME_") {
			t.Errorf("subject %s is not in stream %s (%v)", subject, stream.Name, stream.Subjects)
		}
	}
}

func FuzzSubjects(f *testing.F) {
	f.Add("default", "shop", "cart.v1")
	f.Add("", ">", "*")
	f.Fuzz(func(t *testing.T, tenant, namespace, service string) {
		s := DefaultRoot.OTLP(Metrics, tenant, namespace, service)
		p, ok := DefaultRoot.ParseOTLP(s)
		if !ok || p.Tenant != Token(tenant) || p.Namespace != Token(namespace) || p.Service != Token(service) {
			t.Errorf("%q parses as %+v, %v", s, p, ok)
		}
		if strings.ContainsAny(s, "*> \t\r\n\x00") {
			t.Errorf("subject %q has a character NATS gives a meaning", s)
		}
		if n := Shard(tenant, namespace, service); n < 0 || n >= Shards {
			t.Errorf("shard %d", n)
		}
	})
}
