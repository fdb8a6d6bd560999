// SPDX-License-Identifier: Apache-2.0

package configv1

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/busbar/busbar/contract/subject"
)

func TestRetention(t *testing.T) {
	t.Parallel()
	d := &Destination{
		Exporter: &Destination_Http{Http: new(structpb.Struct)},
		Queue:    &Queue{MaxBytes: "10GiB", MaxAge: "72h", Replicas: 3, Concurrency: 16},
		OnRemove: Destination_ON_REMOVE_DISCARD, DrainTimeout: "90s",
	}
	got := d.Retention(func(path, reason string) { t.Errorf("%s: %s", path, reason) })
	want := Retention{MaxBytes: 10 << 30, MaxAge: 72 * time.Hour, Replicas: 3, Concurrency: 16, OnRemove: Discard, DrainTimeout: 90 * time.Second, Exporter: "otlp_http"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s := got.Stream(subject.DefaultRoot, "tempo")
	if !s.Given || s.MaxBytes != 10<<30 || s.MaxAge != 72*time.Hour || s.Replicas != 3 || s.Metadata[subject.MetaOnRemove] != "discard" {
		t.Errorf("%+v", s)
	}
}

// What nobody says is as the table of streams has it.
func TestRetentionByDefault(t *testing.T) {
	t.Parallel()
	usual := subject.DefaultRoot.OutStream("tempo")
	if diff := cmp.Diff(usual, Retention{}.Stream(subject.DefaultRoot, "tempo")); diff != "" {
		t.Error(diff)
	}
	got := new(Destination).Retention(func(path, reason string) { t.Errorf("%s: %s", path, reason) })
	s := got.Stream(subject.DefaultRoot, "tempo")
	if got.OnRemove != Drain || s.MaxBytes != usual.MaxBytes || s.MaxAge != usual.MaxAge || s.Replicas != usual.Replicas {
		t.Errorf("%+v %+v", got, s)
	}
}

func TestRetentionFaults(t *testing.T) {
	t.Parallel()
	d := &Destination{
		Queue:        &Queue{MaxBytes: "1MiB", MaxAge: "1s", Replicas: 9, Concurrency: 1000},
		DrainTimeout: "soon",
	}
	var faults []string
	d.Retention(func(path, reason string) { faults = append(faults, path+": "+reason) })
	want := []string{
		"queue.maxBytes: want at least 4MiB, got 1MiB",
		"queue.maxAge: want at least 1m0s, got 1s",
		`drainTimeout: want a duration such as 90s or 24h, got "soon"`,
		"queue.replicas: want at most 5, got 9",
		"queue.concurrency: want at most 256, got 1000",
	}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Error(diff)
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "4096": 4096, "512MiB": 512 << 20, "1.5 GiB": 3 << 29, "20GB": 20e9, "7 B": 7} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "GiB", "1mib", "-1GiB", "1GiBGiB", "1e300TiB", "NaN", "1 2"} {
		if n, err := ParseSize(text); err == nil || !strings.Contains(err.Error(), "want a size") {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}
