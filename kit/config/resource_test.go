// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/kit/config"
)

func parse(t *testing.T, text string) *config.Set {
	t.Helper()
	set, err := config.Parse(testKinds(t), config.Source{Name: "f.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestFaultPosition(t *testing.T) {
	t.Parallel()
	r := parse(t, `apiVersion: busbar.dev/v1
kind: Pipeline
metadata:
  name: x
spec:
  signals:
    - traces
  match: größe == "x" and y
  note: 'single ''quoted'' text'
  weights: {a/b: 1, "c.d": 2}
  steps:
    - transform: ["one", "two"]
    - transform:
        statements:
          - |
            set(a,
              "ä", b)
    - filter: "x == 1"
    - transform: alone
`).Resources[0]
	for _, tc := range []struct {
		path   string
		offset int
		want   string
	}{
		{"spec.signals[0]", 0, "7:7"},
		{"spec.signals[5]", 0, "6:3"},       // no such element: the key of the list
		{"spec.signals.traces", 0, "7:5"},   // a key in a list is taken for left out by shorthand
		{"spec.to", 0, "5:1"},               // missing: the key it belongs under
		{"spec.match", 0, "8:10"},           //
		{"spec.match", 6, "8:16"},           // characters, not bytes
		{"spec.match", 99, "8:10"},          // beyond the end
		{"spec.note", 3, "9:13"},            // one for the quote
		{"spec.note", 12, "9:9"},            // behind an escape
		{"spec.weights.a/b", 0, "10:18"},    //
		{`spec.weights["c.d"]`, 0, "10:28"}, //
		{"spec.steps[0].transform[1]", 1, "12:28"},
		{"spec.steps[0].transform.statements[1]", 0, "12:26"},
		{"spec.steps[1].transform[0]", 0, "14:9"},
		{"spec.steps[1].transform.statements[0]", 4, "16:17"},
		{"spec.steps[1].transform.statements[0]", 7, "17:13"},
		{"spec.steps[1].transform.statements[0]", 12, "17:18"},
		{"spec.steps[2].filter.condition", 5, "18:21"},
		{"spec.steps[3].transform.statements[0]", 2, "19:20"},
		{"metadata.name", 0, "4:9"},
		{"", 0, "1:1"},
		{"nothing.like[it", 0, "1:1"},
		{"spec.steps[-1]", 0, "12:5"},
	} {
		f := r.FaultAt(tc.path, tc.offset, "bad %d", 1)
		if got := fmt.Sprintf("%d:%d", f.Line, f.Col); got != tc.want {
			t.Errorf("%s+%d is at %s, want %s", tc.path, tc.offset, got, tc.want)
		}
	}
	if got := r.Fault("spec.to", "missing").String(); got != "f.yaml:5:1: spec.to: missing" {
		t.Error(got)
	}
	made := &config.Resource{Kind: "Pipeline", Name: "x"}
	if got := made.Fault("spec.to", "missing").String(); got != "Pipeline/x: spec.to: missing" {
		t.Error(got)
	}
}

type exporter struct {
	Endpoint string            `yaml:"endpoint"`
	Address  netip.Addr        `yaml:"address"`
	Headers  map[string]string `yaml:"headers"`
	Timeout  time.Duration     `yaml:"timeout"`
	TLS      *struct {
		Insecure bool `yaml:"insecure"`
	} `yaml:"tls"`
	Codes   []uint16       `yaml:"codes"`
	Ratio   float32        `yaml:"ratio"`
	Size    int            `yaml:"size"`
	Rest    map[string]any `yaml:"rest"`
	Ignored string
}

const destination = `apiVersion: busbar.dev/v1
kind: Open
metadata: {name: x}
spec:
  otlphttp:
`

func TestDecode(t *testing.T) {
	t.Parallel()
	r := parse(t, destination+`
    endpoint: ${env:HOST}:4318
    address: 10.0.0.1
    headers: {a.b: c, d: 5}
    tls: {insecure: true}
    codes: [429, 503]
    ratio: 0.5
    size:
    rest: {whole: 9007199254740992, float: 1.0, list: [true, null, x], "5": -1}
`).Resources[0]
	got := exporter{Timeout: time.Second, Size: 7, Headers: map[string]string{"gone": "x"}}
	if faults := config.Decode(r, "spec.otlphttp", &got); faults != nil {
		t.Fatal(faults)
	}
	want := exporter{
		Endpoint: "${env:HOST}:4318",
		Address:  netip.MustParseAddr("10.0.0.1"),
		Headers:  map[string]string{"a.b": "c", "d": "5"},
		Timeout:  time.Second, // as it was
		TLS: &struct {
			Insecure bool `yaml:"insecure"`
		}{true},
		Codes: []uint16{429, 503},
		Ratio: 0.5,
		Size:  7, // null changes nothing
		Rest:  map[string]any{"whole": int64(1 << 53), "float": 1.0, "list": []any{true, nil, "x"}, "5": int64(-1)},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if faults := config.Decode(r, "spec.absent", &got); faults != nil {
		t.Error(faults)
	}
}

func TestDecodeFaults(t *testing.T) {
	t.Parallel()
	r := parse(t, destination+`
    endpont: x
    address: nowhere
    headers: {a: [b]}
    timeout: 5
    tls: {insecure: 1}
    codes: [429, 70000, -1]
    ratio: 1e39
    size: {}
    rest: secret
    Ignored: x
`).Resources[0]
	want := `f.yaml:7:5: spec.otlphttp.endpont: unknown field (did you mean "endpoint"? ` +
		`known: address, codes, endpoint, headers, ratio, rest, size, timeout, tls)
f.yaml:8:14: spec.otlphttp.address: ParseAddr("nowhere"): unable to parse IP
f.yaml:9:18: spec.otlphttp.headers.a: want text, got a list
f.yaml:10:14: spec.otlphttp.timeout: want a duration such as 500ms or 1h30m, got "5"
f.yaml:11:21: spec.otlphttp.tls.insecure: want true or false, got 1
f.yaml:12:18: spec.otlphttp.codes[1]: want a whole number from 0 to 65535, got 70000
f.yaml:12:25: spec.otlphttp.codes[2]: want a whole number from 0 to 65535, got -1
f.yaml:13:12: spec.otlphttp.ratio: want a number, got 1e39
f.yaml:14:11: spec.otlphttp.size: want a whole number from -9223372036854775808 to 9223372036854775807, got a map
f.yaml:15:11: spec.otlphttp.rest: want a map, got text
f.yaml:16:5: spec.otlphttp.Ignored: unknown field (known: address, codes, endpoint, headers, ratio, rest, size, timeout, tls)`
	var into exporter
	if diff := cmp.Diff(want, config.Decode(r, "spec.otlphttp", &into).Error()); diff != "" {
		t.Error(diff)
	}

	var unfit struct {
		Endpont chan int `yaml:"endpont"`
	}
	faults := config.Decode(r, "spec.otlphttp", &unfit)
	if len(faults) == 0 || faults[0].Reason != "cannot be read into a chan int" {
		t.Errorf("got %v", faults)
	}
	if faults := config.Decode(&config.Resource{Kind: "Open", Name: "x"}, "spec", &into); len(faults) != 1 {
		t.Errorf("a resource without text: %v", faults)
	}
}

func TestDecodeLargeNumbers(t *testing.T) {
	t.Parallel()
	r := parse(t, "apiVersion: busbar.dev/v1\nkind: Everything\nmetadata: {name: x}\n"+
		"spec: {u64: 18446744073709551615, i64: -1}\n").Resources[0]
	var got any
	if faults := config.Decode(r, "spec", &got); faults != nil {
		t.Fatal(faults)
	}
	if diff := cmp.Diff(map[string]any{"u64": uint64(math.MaxUint64), "i64": int64(-1)}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"": 0, "0": 0, "500ms": 500 * time.Millisecond, "1h30m": 90 * time.Minute} {
		if got, err := config.Duration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"5", "-1s", "a minute", "1d"} {
		if got, err := config.Duration(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestFaultString(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]config.Fault{
		"f:1:2: a.b: bad": {File: "f", Line: 1, Col: 2, Path: "a.b", Reason: "bad"},
		"f:1:2: bad":      {File: "f", Line: 1, Col: 2, Reason: "bad"},
		"f: bad":          {File: "f", Reason: "bad"},
		"bad":             {Reason: "bad"},
		"a.b: bad":        {Path: "a.b", Reason: "bad"},
	} {
		if got := f.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var none config.Faults
	if none.Err() != nil {
		t.Error("no faults are an error")
	}
	err := fmt.Errorf("load: %w", config.Faults{{Reason: "a"}, {Reason: "b"}}.Err())
	if faults, ok := errors.AsType[config.Faults](err); !ok || len(faults) != 2 || err.Error() != "load: a\nb" {
		t.Errorf("got %v", err)
	}
}
