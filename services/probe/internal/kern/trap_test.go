// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"debug/elf"
	"os"
	"reflect"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

//go:noinline
func trapped(n int) int { return n + 1 }

// checked begins by comparing its stack with the bound, like all Go functions that call others; the branch behind that is emulated.
//
//go:noinline
func checked(n int) int { return trapped(n) - 1 }

// comparison is the length of that comparison on amd64.
const comparison = 4

// BenchmarkTrap is what a uprobe costs the process before its program does anything: the trap's own price, which every hook on a
// library or on Go code pays.
func BenchmarkTrap(b *testing.B) {
	b.Run("without", func(b *testing.B) {
		for n := 0; b.Loop(); {
			n = checked(n)
		}
	})
	b.Run("emulated", func(b *testing.B) {
		if runtime.GOARCH != "amd64" {
			b.Skip("the place is that of amd64")
		}
		trapAt(b, uint64(reflect.ValueOf(checked).Pointer())+comparison)
		for n := 0; b.Loop(); {
			n = checked(n)
		}
	})
	b.Run("stepped", func(b *testing.B) {
		trapAt(b, uint64(reflect.ValueOf(trapped).Pointer()))
		for n := 0; b.Loop(); {
			n = trapped(n)
		}
	})
}

// trapAt puts an empty program at an address of this process, for the length of the benchmark.
func trapAt(b *testing.B, address uint64) {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("attaching to a function needs root")
	}
	c, err := (object{name: "bench", load: loadBench}).spec(Options{RingBytes: minRingBytes()})
	if err != nil {
		b.Fatal(err)
	}
	p, err := ebpf.NewProgram(c.Programs["trap"])
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close() })
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	exe, err := link.OpenExecutable(self)
	if err != nil {
		b.Fatal(err)
	}
	l, err := exe.Uprobe("trapped", p, &link.UprobeOptions{Address: fileOffset(b, self, address)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
}

// fileOffset returns where in the file the code at an address of this process is. The process is not relocated.
func fileOffset(b *testing.B, file string, address uint64) uint64 {
	b.Helper()
	f, err := elf.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && address >= p.Vaddr && address < p.Vaddr+p.Filesz {
			return address - p.Vaddr + p.Off
		}
	}
	b.Fatalf("no code at %#x in %s", address, file)
	return 0
}
