// SPDX-License-Identifier: Apache-2.0

// Package goexe reads from the executable of a Go program what the probe needs to follow its goroutines: the version of Go, where the
// runtime keeps a goroutine's id, and where some functions of the standard library lie. It needs no symbol table and no DWARF, so
// stripped programs will do. An executable is hostile input: everything is read piece by piece, up to a bound.
package goexe

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The functions that Read looks for.
const (
	RoundTrip = "net/http.(*persistConn).roundTrip"
	TLSRead   = "crypto/tls.(*Conn).Read"
	TLSWrite  = "crypto/tls.(*Conn).Write"
	TLSClose  = "crypto/tls.(*Conn).Close"
	newproc   = "runtime.newproc1" // allocates goroutine ids
	memmove   = "runtime.memmove"
)

// Offsets are where fields lie in structures of the runtime and of the standard library, in bytes.
type Offsets struct {
	Goid         uint16 // runtime.g
	ParentGoid   uint16 // runtime.g; 0: this version does not keep it
	M            uint16 // runtime.g
	P            uint16 // runtime.m
	GoidCache    uint16 // runtime.p: the next goroutine id
	GoidCacheEnd uint16 // runtime.p: the first id that is not its own
	GoidGen      uint16 // runtime.schedt: the last id that any runtime.p took
	PersistConn  uint16 // conn of net/http.persistConn
	TLSConn      uint16 // conn of crypto/tls.Conn
	Sysfd        uint16 // net.netFD
	Family       uint16 // net.netFD
	Sotype       uint16 // net.netFD
}

// Func is a function of the program.
type Func struct {
	Entry uint64 // offset in the file of one of its first instructions, at which its arguments are still where they were passed
	Copy  uint64 // of the one that calls runtime.memmove, if it is the only one; else 0
}

// Program is what is known of an executable.
type Program struct {
	Version string // as "go1.22.3"
	Offsets Offsets
	Funcs   map[string]Func // those that the program has
	// Entry is the address at which it starts, as linked, and GoidGen that of the counter of goroutine ids; 0: not found.
	Entry   uint64
	GoidGen uint64
}

// ErrNotGo says that a file was not built by the Go tool chain.
var ErrNotGo = errors.New("not a Go program")

// Read reads an executable. A program whose version or layout is not known is an error: nothing about it is guessed.
func Read(r io.ReaderAt) (*Program, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotGo, err)
	}
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotGo, err)
	}
	p := &Program{Version: info.GoVersion, Entry: f.Entry, Funcs: map[string]Func{}}
	minor, err := minorOf(info.GoVersion)
	if err != nil {
		return nil, err
	}
	var known bool
	if p.Offsets, known = layout(minor); !known {
		return nil, fmt.Errorf("the layout of %s is not known", info.GoVersion)
	}
	if err := p.find(f); err != nil {
		return nil, fmt.Errorf("%s: %w", info.GoVersion, err)
	}
	return p, nil
}

// find looks for the functions.
func (p *Program) find(f *elf.File) error {
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Machine != elf.EM_X86_64 && f.Machine != elf.EM_AARCH64 {
		return fmt.Errorf("a program for %s", f.Machine)
	}
	t, err := openTable(f)
	if err != nil {
		return err
	}
	found, err := t.lookup(RoundTrip, TLSRead, TLSWrite, TLSClose, newproc, memmove)
	if err != nil {
		return err
	}
	spawn, ok := found[newproc]
	if !ok {
		return errors.New("no table of functions that names the runtime's")
	}
	code, err := place(f, t, found)
	if err != nil {
		return err
	}
	p.GoidGen = code.counter(spawn[0])
	for _, name := range []string{RoundTrip, TLSRead, TLSWrite, TLSClose} {
		if len(found[name]) != 1 {
			continue
		}
		fn, err := code.function(found[name][0], found[memmove])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		p.Funcs[name] = fn
	}
	return nil
}

// Bounds of the versions whose registers hold the goroutine and whose layout is known.
const (
	oldest = 17
	newest = 26
)

// layout returns the offsets of a minor version. Those of 1.17, 1.18 and 1.20 could not be measured and are taken to be those of 1.19:
// what is read is checked before it is believed (the stack that a goroutine names must hold the stack pointer).
func layout(minor int) (Offsets, bool) {
	if minor < oldest || minor > newest {
		return Offsets{}, false
	}
	if minor < 21 {
		minor = 19
	}
	o, ok := measured["1."+strconv.Itoa(minor)]
	return o, ok
}

// minorOf returns 22 for "go1.22.3", "go1.22rc1" and "devel go1.22-1234abc".
func minorOf(version string) (int, error) {
	_, rest, ok := strings.Cut(version, "go1.")
	if !ok {
		return 0, fmt.Errorf("version %.40q is none of Go", version)
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	minor, err := strconv.Atoi(rest[:end])
	if err != nil {
		return 0, fmt.Errorf("version %.40q is none of Go", version)
	}
	return minor, nil
}

// In returns the address of the counter of goroutine ids in a process that runs the program, whose folder of /proc is given; 0 if it
// is not known. A position-independent program lies elsewhere in every process.
func (p *Program) In(dir string) (uint64, error) {
	const entry = 9 // AT_ENTRY
	if p.GoidGen == 0 {
		return 0, nil
	}
	aux, err := os.ReadFile(filepath.Join(dir, "auxv"))
	if err != nil {
		return 0, fmt.Errorf("find program in memory: %w", err)
	}
	for ; len(aux) >= 16; aux = aux[16:] {
		if binary.LittleEndian.Uint64(aux) == entry {
			return p.GoidGen + binary.LittleEndian.Uint64(aux[8:]) - p.Entry, nil
		}
	}
	return 0, errors.New("find program in memory: no entry in auxv")
}
