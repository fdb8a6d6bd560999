// SPDX-License-Identifier: Apache-2.0

package redact_test

import (
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/redact"
)

func TestCards(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"plain", "4111111111111111", "****"},
		{"in a sentence", "paid with 4111111111111111.", "paid with ****."},
		{"spaces", "4111 1111 1111 1111", "****"},
		{"hyphens", "4111-1111-1111-1111", "****"},
		{"american express", "3782 822463 10005", "****"},
		{"thirteen digits", "4222222222222", "****"},
		{"nineteen digits", "6304000000000000000", "****"},
		{"beside letters", "PAN4111111111111111x", "PAN****x"},
		{"in a query", "card=4111111111111111&exp=1230", "card=****&exp=1230"},
		{"two", "4111111111111111,5500005555555559", "****,****"},
		{"expiry in a group behind", "4111 1111 1111 1111 12 30", "**** 12 30"},
		{"group in front", "7 4111 1111 1111 1111", "7 ****"},
		{"two in one row of groups", "4111 1111 1111 1111 5500 0055 5555 5559", "**** ****"},
		{"wrong check digit", "4111111111111112", "4111111111111112"},
		{"twelve digits", "411111111116", "411111111116"},
		{"twenty digits", "41111111111111110000", "41111111111111110000"},
		{"two gaps", "4111  1111  1111  1111", "4111  1111  1111  1111"},
		{"other separator", "4111.1111.1111.1111", "4111.1111.1111.1111"},
		{"gap at the end", "4111111111111111 ", "**** "},
		{"beside other scripts", "№4111111111111111号", "№****号"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, found := redact.Cards(test.text)
			if got != test.want || found != (test.text != test.want) {
				t.Errorf("got %q, %t, want %q", got, found, test.want)
			}
		})
	}
}

func FuzzCards(f *testing.F) {
	for _, seed := range []string{"4111 1111 1111 1111 12 30", "3782-822463-10005", "6304000000000000000\xff", "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, found := redact.Cards(text)
		if found == (got == text) {
			t.Fatalf("%q became %q, found %t", text, got, found)
		}
		if again, more := redact.Cards(got); more {
			t.Fatalf("%q became %q and then %q", text, got, again)
		}
		letters := func(s string) string {
			return strings.Map(func(r rune) rune {
				if strings.ContainsRune("0123456789 -*", r) {
					return -1
				}
				return r
			}, s)
		}
		if letters(got) != letters(text) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

const card = "4111111111111111"

// put sets a card number at every depth of a map.
func put(m pcommon.Map) {
	m.PutStr("text", card)
	m.PutEmptyMap("map").PutEmptySlice("slice").AppendEmpty().SetStr("card " + card)
	m.PutInt("number", 4111111111111111)
}

func TestPayloadReachesEveryText(t *testing.T) {
	t.Parallel()
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	put(rs.Resource().Attributes())
	ss := rs.ScopeSpans().AppendEmpty()
	put(ss.Scope().Attributes())
	span := ss.Spans().AppendEmpty()
	span.SetName("GET /cards/" + card)
	span.Status().SetMessage(card)
	put(span.Attributes())
	put(span.Links().AppendEmpty().Attributes())
	event := span.Events().AppendEmpty()
	event.SetName(card)
	put(event.Attributes())

	metrics := pmetric.NewMetrics()
	rm := metrics.ResourceMetrics().AppendEmpty()
	put(rm.Resource().Attributes())
	sm := rm.ScopeMetrics().AppendEmpty()
	put(sm.Scope().Attributes())
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
	put(record.Attributes())
	put(record.Body().SetEmptyMap())
	sl.LogRecords().AppendEmpty().Body().SetStr("paid with " + card)

	for name, p := range map[string]otlp.Payload{
		"traces": otlp.FromTraces(traces), "metrics": otlp.FromMetrics(metrics), "logs": otlp.FromLogs(logs),
	} {
		t.Run(name, func(t *testing.T) {
			records := p.Len()
			if !redact.Payload(p) {
				t.Error("nothing changed")
			}
			b, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), card) {
				t.Error("a card number is left")
			}
			if p.Len() != records {
				t.Errorf("%d records of %d are left", p.Len(), records)
			}
			if redact.Payload(p) {
				t.Error("changed again")
			}
		})
	}
}

func BenchmarkCardsInPlainText(b *testing.B) {
	b.ReportAllocs()
	text := strings.Repeat("GET /api/v1/users/12345678 HTTP/1.1 ", 3)
	for b.Loop() {
		redact.Cards(text)
	}
}
