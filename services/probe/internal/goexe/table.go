// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// table is the program's own table of functions (.gopclntab), which the runtime needs for its tracebacks and no stripping removes.
// Layout: runtime.pcHeader and runtime._func of the versions named at the constants.
type table struct {
	section io.ReaderAt
	address uint64
	offsets bool // addresses are 32-bit offsets from the beginning of the text; else 64 bits
	count   uint64
	names   uint64 // where the names are in the section
	end     uint64 // where the names end
	funcs   uint64 // where the list of functions is
	text    uint64 // address of the beginning of the text as the table has it; may be 0
}

// What the table begins with, by version of Go.
const (
	magic116 = 0xfffffffa // 1.16, 1.17
	magic118 = 0xfffffff0 // 1.18, 1.19
	magic120 = 0xfffffff1 // 1.20 and later
)

// textField is where magic118 and magic120 have the address of the text.
const textField = 24

// Bounds of a table: a program has fewer functions, and their code is shorter.
const (
	maxFuncs = 4 << 20
	maxNames = 1 << 30
	maxCode  = 1 << 20
)

// extent is where the code of a function is: from the beginning of the text, or addresses.
type extent struct{ from, to uint64 }

func openTable(f *elf.File) (*table, error) {
	section, at, err := locate(f)
	if err != nil {
		return nil, err
	}
	size := section.Size - at
	r := io.NewSectionReader(section, int64(at), int64(size)) //nolint:gosec // the sizes of a file
	var header [72]byte
	if _, err := r.ReadAt(header[:], 0); err != nil {
		return nil, fmt.Errorf("read table of functions: %w", err)
	}
	word := func(n int) uint64 { return binary.LittleEndian.Uint64(header[8+8*n:]) }
	if header[7] != 8 {
		return nil, errors.New("a table of functions of another word size")
	}
	t := &table{section: r, address: section.Addr + at, count: word(0)}
	switch binary.LittleEndian.Uint32(header[:]) {
	case magic116:
		t.names, t.end, t.funcs = word(2), word(3), word(6)
	case magic118, magic120:
		t.offsets, t.text, t.names, t.end, t.funcs = true, word(2), word(3), word(4), word(7)
	default:
		return nil, errors.New("a table of functions of an unknown form")
	}
	if t.count > maxFuncs || t.names >= t.end || t.end > size || t.end-t.names > maxNames || t.funcs >= size {
		return nil, errors.New("a broken table of functions")
	}
	return t, nil
}

// locate finds the table: it has a section of its own, unless a linker of C has merged that with others.
func locate(f *elf.File) (s *elf.Section, at uint64, err error) {
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		if s := f.Section(name); s != nil && s.Type != elf.SHT_NOBITS {
			return s, 0, nil
		}
	}
	if s = f.Section(".data.rel.ro"); s == nil || s.Type == elf.SHT_NOBITS {
		return nil, 0, errors.New("no table of functions")
	}
	const alignment, header = 8, 8
	w := window{r: s}
	for ; at+header <= min(s.Size, maxNames); at += alignment {
		b, err := w.at(at, header)
		if err != nil {
			return nil, 0, err
		}
		magic, zero := binary.LittleEndian.Uint32(b), b[4]|b[5]
		if (magic == magic116 || magic == magic118 || magic == magic120) && zero == 0 && (b[6] == 1 || b[6] == 4) && b[7] == 8 {
			return s, at, nil
		}
	}
	return nil, 0, errors.New("no table of functions")
}

// lookup finds functions by their names. A name that the program does not have is not in the result; one of assembly may be there for
// two ways to call it.
func (t *table) lookup(names ...string) (map[string][]extent, error) {
	wanted, err := t.numbers(names)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	size, number := uint64(16), 8 // of an entry of the list, and where a function has the number of its name
	if t.offsets {
		size, number = 8, 4
	}
	list := bufio.NewReaderSize(io.NewSectionReader(t.section, int64(t.funcs), int64(t.count*size+size/2)), 64<<10) //nolint:gosec // bounded
	details := window{r: t.section}
	entry := make([]byte, size)
	found := map[string][]extent{}
	for range t.count {
		if _, err := io.ReadFull(list, entry); err != nil {
			return nil, fmt.Errorf("read list of functions: %w", err)
		}
		from, at := word(entry[:size/2]), word(entry[size/2:])
		detail, err := details.at(t.funcs+at, 12)
		if err != nil {
			return nil, fmt.Errorf("read functions: %w", err)
		}
		name, ok := wanted[binary.LittleEndian.Uint32(detail[number:])]
		if !ok {
			continue
		}
		next, err := list.Peek(int(size / 2)) //nolint:gosec // 4 or 8
		if err != nil {
			return nil, fmt.Errorf("read list of functions: %w", err)
		}
		if to := word(next); from < to && to-from <= maxCode {
			found[name] = append(found[name], extent{from, to})
		}
	}
	return found, nil
}

// word reads 4 or 8 bytes.
func word(b []byte) uint64 {
	if len(b) == 4 {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// numbers returns the offsets at which names are kept, by which functions refer to them.
func (t *table) numbers(names []string) (map[uint32]string, error) {
	const overlap = 256 // more than a name
	found := map[uint32]string{}
	buf := make([]byte, 256<<10)
	for at := t.names; at < t.end && len(found) < len(names); at += uint64(len(buf) - overlap) {
		piece := buf[:min(uint64(len(buf)), t.end-at)]
		if _, err := t.section.ReadAt(piece, int64(at)); err != nil { //nolint:gosec // bounded
			return nil, fmt.Errorf("read names of functions: %w", err)
		}
		for _, name := range names {
			if i := bytes.Index(piece, []byte("\x00"+name+"\x00")); i >= 0 {
				found[uint32(at-t.names)+uint32(i)+1] = name //nolint:gosec // bounded
			}
		}
	}
	return found, nil
}

// window reads pieces that come in nearly rising order.
type window struct {
	r    io.ReaderAt
	base uint64
	buf  []byte
	full [64 << 10]byte
}

// at returns n bytes, valid until the next call.
func (w *window) at(offset uint64, n int) ([]byte, error) {
	if offset < w.base || offset-w.base+uint64(n) > uint64(len(w.buf)) { //nolint:gosec // small
		if offset > maxNames*4 {
			return nil, errors.New("out of bounds")
		}
		got, err := w.r.ReadAt(w.full[:], int64(offset)) //nolint:gosec // checked
		if got < n {
			return nil, fmt.Errorf("cut short: %w", err)
		}
		w.base, w.buf = offset, w.full[:got]
	}
	return w.buf[offset-w.base:][:n], nil
}
