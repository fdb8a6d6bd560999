// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"debug/elf"
	"errors"
	"fmt"
	"slices"
)

// maxSymbols bounds the size of a symbol table that is read: that of a large browser is a tenth of it.
const maxSymbols = 256 << 20

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
	for _, table := range []struct {
		kind elf.SectionType
		read func() ([]elf.Symbol, error)
	}{{elf.SHT_DYNSYM, f.DynamicSymbols}, {elf.SHT_SYMTAB, f.Symbols}} {
		section := f.SectionByType(table.kind)
		if section == nil || section.Size > maxSymbols {
			continue
		}
		symbols, err := table.read()
		if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
			return nil, fmt.Errorf("read symbols of %s: %w", path, err)
		}
		if found := offsets(f, symbols, names); len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

func offsets(f *elf.File, symbols []elf.Symbol, names []string) map[string]uint64 {
	found := map[string]uint64{}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Section == elf.SHN_UNDEF || !slices.Contains(names, s.Name) {
			continue
		}
		if at, ok := offset(f, s.Value); ok {
			found[s.Name] = at
		}
	}
	return found
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
