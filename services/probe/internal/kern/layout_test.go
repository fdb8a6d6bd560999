// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestLayout holds the records of bpf/record.h and their Go twins together, by what the objects say of themselves.
func TestLayout(t *testing.T) {
	types := []struct {
		object object
		name   string
		twin   reflect.Type
	}{
		{object{name: "bench", load: loadBench}, "exchange_record", reflect.TypeFor[Exchange]()},
		{object{name: "process", load: loadProcess}, "process_record", reflect.TypeFor[Process]()},
		{object{name: "process", load: loadProcess}, "proc", reflect.TypeFor[proc]()},
	}
	for _, tt := range types {
		t.Run(tt.name, func(t *testing.T) {
			spec, err := tt.object.load()
			if err != nil {
				t.Fatal(err)
			}
			var s *btf.Struct
			if err := spec.Types.TypeByName(tt.name, &s); err != nil {
				t.Fatal(err)
			}
			if uintptr(s.Size) != tt.twin.Size() || len(s.Members) != tt.twin.NumField() {
				t.Fatalf("%d bytes and %d members in C, %d and %d in Go", s.Size, len(s.Members), tt.twin.Size(), tt.twin.NumField())
			}
			for i, m := range s.Members {
				f := tt.twin.Field(i)
				size, err := btf.Sizeof(m.Type)
				if err != nil {
					t.Fatal(err)
				}
				if m.Offset.Bytes() != uint32(f.Offset) || size != int(f.Type.Size()) || !sameName(m.Name, f.Name) {
					t.Errorf("%s: %d bytes at %d in C, %s: %d at %d in Go", m.Name, size, m.Offset.Bytes(), f.Name, f.Type.Size(), f.Offset)
				}
			}
		})
	}
}

// sameName compares some_name with SomeName. Padding has no name in Go.
func sameName(c, g string) bool {
	return g == "_" && strings.HasPrefix(c, "reserved") || strings.EqualFold(strings.ReplaceAll(c, "_", ""), g)
}

// TestDropReasons holds names and counters together.
func TestDropReasons(t *testing.T) {
	spec, err := loadProcess()
	if err != nil {
		t.Fatal(err)
	}
	var reasons *btf.Enum
	if err := spec.Types.TypeByName("drop_reason", &reasons); err != nil {
		t.Fatal(err)
	}
	for i, reason := range dropReasons() {
		if got := reasons.Values[i].Name; !sameName(strings.TrimPrefix(got, "DROP_"), strings.ReplaceAll(reason.name, "_", "")) {
			t.Errorf("%s is %s in Go", got, reason.name)
		}
	}
	if last := reasons.Values[len(dropReasons())].Name; last != "DROP_REASONS" {
		t.Errorf("%s has no name in Go", last)
	}
}
