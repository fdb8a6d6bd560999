// SPDX-License-Identifier: Apache-2.0

package goexe_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/busbar/busbar/services/probe/internal/goexe"
	"github.com/busbar/busbar/services/probe/internal/goexe/goexetest"
)

// kinds are ways to build a program.
var kinds = map[string]struct {
	env   []string
	flags []string
	cgo   bool
	own   bool // shares no compiled package with the others
}{
	"plain":       {env: []string{"CGO_ENABLED=0"}},
	"stripped":    {env: []string{"CGO_ENABLED=0"}, flags: []string{"-ldflags=-s -w", "-trimpath"}, own: true},
	"bare":        {env: []string{"CGO_ENABLED=0"}, flags: []string{"-ldflags=-s -w"}},
	"pie":         {env: []string{"CGO_ENABLED=0"}, flags: []string{"-buildmode=pie"}, own: true},
	"cgo":         {env: []string{"CGO_ENABLED=1"}, cgo: true},
	"cgo, linked": {env: []string{"CGO_ENABLED=1"}, flags: []string{"-ldflags=-linkmode=external -s -w"}, cgo: true},
	"cgo, pie":    {env: []string{"CGO_ENABLED=1"}, flags: []string{"-ldflags=-linkmode=external", "-buildmode=pie"}, cgo: true, own: true},
	"arm64":       {env: []string{"CGO_ENABLED=0", "GOARCH=arm64"}, flags: []string{"-ldflags=-s -w"}, own: true},
}

// TestPrograms reads programs of every version and kind, and compares what it finds with the symbol table, where they have one.
func TestPrograms(t *testing.T) {
	_, err := exec.LookPath("gcc")
	for version, command := range goexetest.Toolchains(t) {
		for name, kind := range kinds {
			t.Run(version+"/"+name, func(t *testing.T) {
				t.Parallel()
				if os.Getenv("GO_TOOLCHAINS") != "all" && kind.own && command != "go" {
					t.Skip("the standard library would have to be built anew")
				}
				if kind.cgo && err != nil {
					t.Skip("no C compiler")
				}
				file := goexetest.Build(t, command, "testdata/client", kind.env, kind.flags...)
				p := read(t, file)
				if p.Funcs[goexe.RoundTrip].Entry == 0 || p.Funcs[goexe.TLSWrite].Entry == 0 || p.Funcs[goexe.TLSRead].Copy == 0 ||
					p.Funcs[goexe.TLSClose].Entry == 0 {
					t.Errorf("functions %+v", p.Funcs)
				}
				if p.GoidGen == 0 {
					t.Error("no counter of goroutine ids")
				}
				compare(t, file, p)
			})
		}
	}
}

func read(t *testing.T, file string) *goexe.Program {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := goexe.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// compare checks against the symbols, if there are any.
func compare(t *testing.T, file string, p *goexe.Program) {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if fn, ok := p.Funcs[s.Name]; ok {
			begin := offset(f, s.Value)
			if fn.Entry <= begin || fn.Entry > begin+24 || fn.Copy != 0 && (fn.Copy < begin || fn.Copy >= begin+s.Size) {
				t.Errorf("%s: %+v, not in %d bytes from %#x on", s.Name, fn, s.Size, begin)
			}
		}
		if s.Name == "runtime.sched" && p.GoidGen != s.Value+uint64(p.Offsets.GoidGen) {
			t.Errorf("counter of goroutine ids at %#x, not at %#x", p.GoidGen, s.Value)
		}
	}
}

func offset(f *elf.File, address uint64) uint64 {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && address >= p.Vaddr && address < p.Vaddr+p.Filesz {
			return p.Off + address - p.Vaddr
		}
	}
	return 0
}

// TestOffsets: what the kernel's side takes to be the same in every version is.
func TestOffsets(t *testing.T) {
	for version := range goexetest.Toolchains(t) {
		p := read(t, goexetest.Build(t, goexetest.Toolchains(t)[version], "testdata/client", []string{"CGO_ENABLED=0"}))
		if o := p.Offsets; o.PersistConn != 80 || o.TLSConn != 0 || o.Sysfd != 16 || o.Family != 56 || o.Sotype != 64 || o.M != 48 || o.Goid == 0 {
			t.Errorf("Go %s: %+v", version, o)
		}
	}
}

func TestForeign(t *testing.T) {
	for _, file := range []string{"/bin/sh", "goexe_test.go"} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := goexe.Read(f); !errors.Is(err, goexe.ErrNotGo) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// FuzzRead breaks a real program at one place; reading it must end, with an error or without.
func FuzzRead(f *testing.F) {
	whole, err := os.ReadFile(goexetest.Build(f, "go", "testdata/client", []string{"CGO_ENABLED=0"}, "-ldflags=-s -w"))
	if err != nil {
		f.Fatal(err)
	}
	file, err := elf.NewFile(bytes.NewReader(whole))
	if err != nil {
		f.Fatal(err)
	}
	table := file.Section(".gopclntab").Offset
	for _, at := range []uint64{0, 16, 40, table, table + 8, table + 32, table + 64, table + 1<<20} {
		f.Add(at, []byte{0xff, 0xff, 0xff, 0x7f})
		f.Add(at, []byte{0, 0, 0, 0, 0, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, at uint64, garbage []byte) {
		broken := slices.Clone(whole)
		copy(broken[at%uint64(len(broken)):], garbage)
		if p, err := goexe.Read(bytes.NewReader(broken)); err == nil && p.Version == "" {
			t.Error("no version and no error")
		}
	})
}

// BenchmarkRead reads a stripped program, of some megabytes.
func BenchmarkRead(b *testing.B) {
	file := goexetest.Build(b, "go", "testdata/client", []string{"CGO_ENABLED=0"}, "-ldflags=-s -w")
	b.ReportAllocs()
	for b.Loop() {
		f, err := os.Open(file)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := goexe.Read(f); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}
