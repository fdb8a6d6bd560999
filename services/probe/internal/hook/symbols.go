// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxSymbols bounds the size of a symbol table that is read: that of a large browser is a tenth of it.
const maxSymbols = 256 << 20

// tableBuffer is how much of a table is held at a time: those of a large program are tens of megabytes.
const tableBuffer = 64 << 10

// Functions returns where in an ELF file the functions of these names begin, as offsets in the file: those it exports, or if it
// exports none of them, those that its own symbol table has, as in an executable with a library linked in. Names that it does not
// define are left out.
func Functions(path string, names []string) (_ map[string]uint64, err error) {
	defer func() {
		if r := recover(); r != nil { // the reader of the standard library was not made for hostile files
			err = fmt.Errorf("read symbols of %s: %v", path, r)
		}
	}()
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read symbols: %w", err)
	}
	defer f.Close()
	for _, kind := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
		table := f.SectionByType(kind)
		if table == nil || table.Size > maxSymbols || f.Class != elf.ELFCLASS64 || int(table.Link) >= len(f.Sections) {
			continue
		}
		places, err := stringOffsets(f.Sections[table.Link].Open(), names)
		if err != nil {
			return nil, fmt.Errorf("read names of symbols of %s: %w", path, err)
		}
		found, err := offsets(f, table.Open(), places)
		if err != nil {
			return nil, fmt.Errorf("read symbols of %s: %w", path, err)
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

// stringOffsets returns where a table of NUL-terminated strings has the wanted ones: each may be one of them or, for tables share
// tails, the end of one.
func stringOffsets(table io.Reader, wanted []string) (map[uint32]string, error) {
	found := map[uint32]string{}
	in := bufio.NewReaderSize(table, tableBuffer)
	for at := 0; ; {
		s, err := in.ReadSlice(0)
		at += len(s)
		if err == nil {
			for _, name := range wanted {
				if strings.HasSuffix(string(s[:len(s)-1]), name) {
					found[uint32(at-1-len(name))] = name //nolint:gosec // it has less than 4 GiB
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) { // longer than any wanted one
			return nil, err
		}
	}
}

// offsets returns where the functions of a table of symbols are whose names are at these places in the table of strings.
func offsets(f *elf.File, table io.Reader, names map[uint32]string) (map[string]uint64, error) {
	found := map[string]uint64{}
	in := bufio.NewReaderSize(table, tableBuffer)
	for symbol := new(elf.Sym64); len(names) > 0; {
		raw, err := in.Peek(elf.Sym64Size)
		if len(raw) == 0 && errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name, ok := names[f.ByteOrder.Uint32(raw)]
		if ok {
			if _, err := binary.Decode(raw, f.ByteOrder, symbol); err != nil {
				return nil, err
			}
			ok = elf.ST_TYPE(symbol.Info) == elf.STT_FUNC && elf.SectionIndex(symbol.Shndx) != elf.SHN_UNDEF
		}
		if at, has := offset(f, symbol.Value); ok && has {
			found[name] = at
		}
		if _, err := in.Discard(elf.Sym64Size); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// offset returns where in the file the code at an address is.
func offset(f *elf.File, address uint64) (uint64, bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && address >= p.Vaddr && address-p.Vaddr < p.Filesz {
			return address - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}
