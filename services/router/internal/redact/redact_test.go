// SPDX-License-Identifier: Apache-2.0

package redact_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/redact"
)

func compile(t testing.TB, spec *configv1.Redact) *redact.Redactor {
	t.Helper()
	return redact.New(spec, func(path string, _ int, format string, args ...any) { t.Fatalf(path+": "+format, args...) })
}

func encode(t testing.TB, p otlp.Payload) []byte {
	t.Helper()
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// all has every kind of secret.
func all() *configv1.Redact {
	return &configv1.Redact{
		CreditCards: true, Emails: true, BearerTokens: true,
		Patterns: []*configv1.Redact_Pattern{{Name: "ssn", Regex: `\b\d{3}-\d{2}-\d{4}\b`, With: "***"}},
	}
}

// secrets are texts by the kind that they are of.
func secrets() map[string]string {
	return map[string]string{
		"credit_card":  "4111111111111111",
		"email":        "bob@example.com",
		"bearer_token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0",
		"ssn":          "123-45-6789",
	}
}

// put sets a secret at every depth of a map.
func put(m pcommon.Map, secret string) {
	m.PutStr("text", secret)
	m.PutEmptyMap("map").PutEmptySlice("slice").AppendEmpty().SetStr("it is " + secret)
	m.PutInt("number", 4111111111111111)
}

// everywhere has a secret in each place where there is text.
func everywhere(secret string) []otlp.Payload {
	put := func(m pcommon.Map) { put(m, secret) }
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	put(rs.Resource().Attributes())
	ss := rs.ScopeSpans().AppendEmpty()
	put(ss.Scope().Attributes())
	span := ss.Spans().AppendEmpty()
	span.SetName("GET /cards/" + secret)
	span.TraceState().FromRaw("k=v")
	span.SetStartTimestamp(1)
	span.Status().SetMessage(secret)
	put(span.Attributes())
	put(span.Links().AppendEmpty().Attributes())
	event := span.Events().AppendEmpty()
	event.SetName(secret)
	put(event.Attributes())

	metrics := pmetric.NewMetrics()
	rm := metrics.ResourceMetrics().AppendEmpty()
	put(rm.Resource().Attributes())
	sm := rm.ScopeMetrics().AppendEmpty()
	put(sm.Scope().Attributes())
	described := sm.Metrics().AppendEmpty()
	put(described.Metadata())
	put(described.SetEmptyGauge().DataPoints().AppendEmpty().Attributes())
	number := sm.Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty()
	put(number.Attributes())
	put(number.Exemplars().AppendEmpty().FilteredAttributes())
	put(sm.Metrics().AppendEmpty().SetEmptySum().DataPoints().AppendEmpty().Attributes())
	histogram := sm.Metrics().AppendEmpty().SetEmptyHistogram().DataPoints().AppendEmpty()
	put(histogram.Attributes())
	put(histogram.Exemplars().AppendEmpty().FilteredAttributes())
	exponential := sm.Metrics().AppendEmpty().SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
	put(exponential.Attributes())
	put(exponential.Exemplars().AppendEmpty().FilteredAttributes())
	put(sm.Metrics().AppendEmpty().SetEmptySummary().DataPoints().AppendEmpty().Attributes())

	logs := plog.NewLogs()
	rl := logs.ResourceLogs().AppendEmpty()
	put(rl.Resource().Attributes())
	sl := rl.ScopeLogs().AppendEmpty()
	put(sl.Scope().Attributes())
	record := sl.LogRecords().AppendEmpty()
	record.SetEventName(secret)
	put(record.Attributes())
	put(record.Body().SetEmptyMap())
	sl.LogRecords().AppendEmpty().Body().SetStr("paid with " + secret)

	return []otlp.Payload{otlp.FromTraces(traces), otlp.FromMetrics(metrics), otlp.FromLogs(logs)}
}

func TestPayloadReachesEveryText(t *testing.T) {
	t.Parallel()
	r := compile(t, all())
	for kind, secret := range secrets() {
		for _, p := range everywhere(secret) {
			t.Run(kind+" in "+string(p.Signal()), func(t *testing.T) {
				t.Parallel()
				records, before := p.Len(), encode(t, p)
				if r.Clean(p.Signal(), before) {
					t.Error("it is said to be clean")
				}
				counts := r.Payload(p)
				if want := (redact.Counts{kind: strings.Count(string(before), secret)}); cmp.Diff(want, counts) != "" {
					t.Error(cmp.Diff(want, counts))
				}
				after := encode(t, p)
				if strings.Contains(string(after), secret) {
					t.Error("a secret is left")
				}
				if p.Len() != records {
					t.Errorf("%d records of %d are left", p.Len(), records)
				}
				if counts := r.Payload(p); counts != nil || !r.Clean(p.Signal(), after) {
					t.Errorf("changed again: %v", counts)
				}
			})
		}
	}
}

// Each text alone makes a payload unclean: what is looked for before decoding misses none.
func TestCleanMissesNoPlace(t *testing.T) {
	t.Parallel()
	const secret = "bob@example.com"
	r := compile(t, &configv1.Redact{Emails: true})
	for _, p := range everywhere(secret) {
		encoded := string(encode(t, p))
		places := strings.Count(encoded, secret)
		for i := range places {
			parts := strings.Split(encoded, secret)
			one := strings.Join(parts[:i+1], "eve@exampl\x00com") + secret + strings.Join(parts[i+1:], "eve@exampl\x00com")
			if r.Clean(p.Signal(), []byte(one)) {
				t.Errorf("%s: misses place %d of %d", p.Signal(), i, places)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		spec *configv1.Redact
		want map[string]any
	}{
		{"masked", &configv1.Redact{Keys: []string{"password", "*.secret", "n*"}}, map[string]any{
			"Password": "****", "db.secret": "****", "number": "****", "mail": "bob@example.com",
			"user": map[string]any{"secret": "****", "password": "****"},
		}},
		{"removed", &configv1.Redact{Keys: []string{"password", "*.secret", "n*"}, KeyAction: configv1.Redact_KEY_ACTION_REMOVE}, map[string]any{
			"mail": "bob@example.com", "user": map[string]any{},
		}},
		{"allowed", &configv1.Redact{Keys: []string{"*"}, Emails: true, Allow: []string{"MAIL", "user", "n?mber"}}, map[string]any{
			"Password": "****", "db.secret": "****", "number": int64(7), "mail": "bob@example.com",
			"user": map[string]any{"secret": "a", "password": "bob@example.com"},
		}},
		{"path", &configv1.Redact{Keys: []string{"user.password"}}, map[string]any{
			"Password": "a", "db.secret": "b", "number": int64(7), "mail": "bob@example.com",
			"user": map[string]any{"secret": "a", "password": "****"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			logs := plog.NewLogs()
			m := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetEmptyMap()
			err := m.FromRaw(map[string]any{
				"Password": "a", "db.secret": "b", "number": 7, "mail": "bob@example.com",
				"user": map[string]any{"secret": "a", "password": "bob@example.com"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if test.name == "path" {
				user, _ := m.Get("user")
				user.Map().PutStr("password", "a")
			}
			p, r := otlp.FromLogs(logs), compile(t, test.spec)
			if r.Clean(subject.Logs, encode(t, p)) {
				t.Error("it is said to be clean")
			}
			r.Payload(p)
			if diff := cmp.Diff(test.want, m.AsRaw()); diff != "" {
				t.Error(diff)
			}
			if counts := r.Payload(p); counts != nil || !r.Clean(subject.Logs, encode(t, p)) {
				t.Errorf("changed again: %v", counts)
			}
		})
	}
}

func TestAuthorizationIsABearerToken(t *testing.T) {
	t.Parallel()
	traces := ptrace.NewTraces()
	a := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().Attributes()
	a.PutEmptySlice("http.request.header.authorization").AppendEmpty().SetStr("Token abc")
	p, r := otlp.FromTraces(traces), compile(t, &configv1.Redact{BearerTokens: true})
	if r.Clean(subject.Traces, encode(t, p)) {
		t.Error("it is said to be clean")
	}
	if diff := cmp.Diff(redact.Counts{"bearer_token": 1}, r.Payload(p)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"http.request.header.authorization": "****"}, a.AsRaw()); diff != "" {
		t.Error(diff)
	}
}

// Whatever a payload looks like, redacting it neither panics nor leaves a secret, and what is said to be clean is not changed.
func FuzzPayload(f *testing.F) {
	spec := all()
	spec.Keys, spec.Allow = []string{"pass*"}, []string{"allowed"}
	spec.KeyAction = configv1.Redact_KEY_ACTION_REMOVE
	for kind := range secrets() {
		for i, p := range everywhere(secrets()[kind]) {
			f.Add(uint8(i), encode(f, p), "k", kind)
		}
	}
	f.Add(uint8(0), []byte("\x0a\x00"), "password", "email")
	r := compile(f, spec)
	f.Fuzz(func(t *testing.T, signal uint8, b []byte, key, kind string) {
		s := subject.Signals()[int(signal)%3]
		clean := r.Clean(s, b)
		p, err := otlp.Decode(s, b)
		if err != nil {
			return
		}
		before := p.Clone()
		if counts := r.Payload(p); clean && counts != nil {
			t.Fatalf("%x is said to be clean, but %v", b, counts)
		}
		if r.Payload(p) != nil {
			t.Fatal("changed again")
		}
		secret, known := secrets()[kind]
		if !known || strings.EqualFold(key, "allowed") || !plant(before, key, secret) {
			return
		}
		encoded := encode(t, before)
		times := strings.Count(string(encoded), secret)
		if r.Clean(s, encoded) {
			t.Fatalf("%s at %q is not seen", secret, key)
		}
		r.Payload(before)
		if left := strings.Count(string(encode(t, before)), secret); left >= times {
			t.Fatalf("%s at %q is left", secret, key)
		}
	})
}

// plant puts a secret into every resource, under a key in a list in a map, and tells whether there is any.
func plant(p otlp.Payload, key, secret string) (planted bool) {
	p.Walk(otlp.Walk{Resource: func(at *otlp.Cursor) bool {
		value := at.Resource.Attributes().PutEmptyMap("planted").PutEmptySlice(key).AppendEmpty()
		value.SetStr(fmt.Sprintf("(%s)", secret))
		planted = true
		return false
	}})
	return planted
}
