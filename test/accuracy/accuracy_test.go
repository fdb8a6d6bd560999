// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"testing"
	"time"
)

// TestAccuracy is a small part of the matrix, under each tier that this kernel has.
func TestAccuracy(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("REQUIRE_BPF") != "" {
			t.Fatal("not root, and REQUIRE_BPF is set")
		}
		t.Skip("a probe needs root")
	}
	c := &choice{
		n: 200, quiet: 3 * time.Second, plain: true, secure: true, progress: io.Discard,
		servers: words{"go", "python", "nginx", "node"}, clients: words{"go", "python", "node", "curl"},
		shapes: words{"keepalive", "pipelined", "chunked", "nobody", "upgrade", "foreign"}, calls: words{"none"},
	}
	dir := t.TempDir()
	if err := build(t.Context(), dir, c); err != nil {
		t.Fatal(err)
	}
	w, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, tier := range []string{"btf", "syscall"} {
		t.Run(tier, func(t *testing.T) {
			r, err := measure(t.Context(), w, c, tier)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range r.verdicts {
				if !v.good() {
					t.Errorf("%s: %s: %s: %d of %d are right: %v", v.Table, v.Row, v.Column, v.Right, v.Wanted, v.Wrong)
				}
			}
			if r.faults != nil {
				t.Error("on the bus:", r.faults)
			}
			t.Log(r.summary())
		})
	}
}
