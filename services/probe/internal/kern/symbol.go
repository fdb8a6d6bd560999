// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
)

// symbolOffset returns where in an ELF file the code of a function is, 0 if the file does not name it. It reads the tables of
// symbols as a stream: those of a large program are tens of megabytes.
func symbolOffset(file io.ReaderAt, name string) (uint64, error) {
	f, err := elf.NewFile(file)
	if err != nil {
		return 0, err
	}
	for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		table := f.SectionByType(kind)
		if table == nil || f.Class != elf.ELFCLASS64 || int(table.Link) >= len(f.Sections) {
			continue
		}
		names, err := stringOffsets(f.Sections[table.Link].Open(), name)
		if err != nil {
			return 0, err
		}
		address, err := symbolAddress(table.Open(), f.ByteOrder, names)
		if err != nil {
			return 0, err
		}
		if address != 0 {
			return codeOffset(f, address), nil
		}
	}
	return 0, nil
}

// stringOffsets returns where a table of NUL-terminated strings has the wanted one: as one of them, or, since tables share tails,
// at the end of one.
func stringOffsets(table io.Reader, want string) (map[uint32]bool, error) {
	found := map[uint32]bool{}
	in := bufio.NewReaderSize(table, 64<<10)
	for at := 0; ; {
		s, err := in.ReadSlice(0)
		at += len(s)
		if n := len(s) - 1 - len(want); err == nil && n >= 0 && string(s[n:len(s)-1]) == want {
			found[uint32(at-1-len(want))] = true //nolint:gosec // a string table has less than 4 GiB
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}

// symbolAddress returns the address of the first function in a table of symbols that has one of the names.
func symbolAddress(table io.Reader, order binary.ByteOrder, names map[uint32]bool) (uint64, error) {
	in := bufio.NewReaderSize(table, 64<<10)
	entry := make([]byte, elf.Sym64Size)
	for len(names) > 0 {
		_, err := io.ReadFull(in, entry)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		address := order.Uint64(entry[8:])
		if elf.ST_TYPE(entry[4]) == elf.STT_FUNC && address != 0 && names[order.Uint32(entry)] {
			return address, nil
		}
	}
	return 0, nil
}

// codeOffset returns where in the file the code at an address is.
func codeOffset(f *elf.File, address uint64) uint64 {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && address >= p.Vaddr && address-p.Vaddr < p.Filesz {
			return address - p.Vaddr + p.Off
		}
	}
	return 0
}
