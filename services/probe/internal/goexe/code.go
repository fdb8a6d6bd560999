// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// code is the text of a program.
type code struct {
	file *elf.File
	text uint64 // address that offsets of functions count from
}

// place finds out where the text begins. The table of functions says so only in some versions and kinds of link, so all the places
// that may tell are asked, and the one is taken at which each function looks like one.
func place(f *elf.File, t *table, funcs map[string][]extent) (code, error) {
	candidates := []uint64{0} // addresses that need no base
	if t.offsets {
		candidates = []uint64{t.text, relocated(f, t.address+textField)}
		if s := f.Section(".text"); s != nil {
			candidates = append(candidates, s.Addr)
		}
		if s := f.Section(".go.module"); s != nil {
			candidates = append(candidates, moduleText(s), relocated(f, s.Addr+moduleTextField))
		}
	}
	for _, text := range candidates {
		c, whole := code{f, text}, true
		for name, extents := range funcs {
			whole = whole && (name == memmove || c.begins(extents[0]))
		}
		if whole {
			return c, nil
		}
	}
	return code{}, errors.New("the table of functions does not tell where they are")
}

// moduleTextField is where runtime.moduledata has the address of the text, in versions that give it a section of its own (1.26).
const moduleTextField = 176

func moduleText(s *elf.Section) uint64 {
	var b [8]byte
	if _, err := s.ReadAt(b[:], moduleTextField); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

// relocated returns what the loader puts at an address of a position-independent program; 0: nothing.
func relocated(f *elf.File, address uint64) uint64 {
	s := f.Section(".rela.dyn")
	if s == nil {
		s = f.Section(".rela")
	}
	if s == nil || s.Type != elf.SHT_RELA {
		return 0
	}
	const entry = 24 // r_offset, r_info, r_addend
	w := window{r: s}
	for at := uint64(0); at+entry <= min(s.Size, maxNames); at += entry {
		b, err := w.at(at, entry)
		if err != nil {
			return 0
		}
		if binary.LittleEndian.Uint64(b) == address {
			return binary.LittleEndian.Uint64(b[16:])
		}
	}
	return 0
}

// bytes returns the code of a function and where it is in the file.
func (c code) bytes(e extent) (text []byte, offset uint64, err error) {
	from := c.text + e.from
	for _, p := range c.file.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 || from < p.Vaddr || from-p.Vaddr >= p.Filesz || e.to-e.from > p.Filesz-(from-p.Vaddr) {
			continue
		}
		text = make([]byte, e.to-e.from)
		if _, err := p.ReadAt(text, int64(from-p.Vaddr)); err != nil { //nolint:gosec // within the segment
			return nil, 0, fmt.Errorf("read code: %w", err)
		}
		return text, p.Off + from - p.Vaddr, nil
	}
	return nil, 0, errors.New("no code at its address")
}

// begins tells whether a function begins as compiled Go does: by comparing the stack pointer with the bound in the goroutine.
func (c code) begins(e extent) bool {
	text, _, err := c.bytes(e)
	if err != nil {
		return false
	}
	head := text[:min(len(text), 24)]
	if c.file.Machine == elf.EM_AARCH64 {
		return bytes.HasPrefix(head, []byte{0x90, 0x0b, 0x40, 0xf9}) // ldr x16, [x28, #16]
	}
	return bytes.HasPrefix(head, []byte{0x49, 0x3b, 0x66, 0x10}) || // cmp rsp, [r14+16]
		bytes.HasPrefix(head, []byte{0x4c, 0x8d}) && bytes.Contains(head, []byte{0x4d, 0x3b, 0x66, 0x10}) // lea r12, [rsp-n]; cmp r12, [r14+16]
}

// function finds where to hook a function. A trap is dear where the kernel must have the process execute the instruction by itself: it
// does what branches, calls and pushes do in its stead. So the hook at the beginning is put behind the comparison of the stack with
// its bound, where all arguments are still in their registers. A function that cannot be followed to its end is an error: a breakpoint
// in the middle of an instruction would break the program.
func (c code) function(e extent, memmove []extent) (Func, error) {
	text, offset, err := c.bytes(e)
	if err != nil {
		return Func{}, err
	}
	var fn Func
	var copies int
	var last uint64
	for at := 0; at < len(text); {
		s, err := c.step(text[at:])
		if err != nil {
			return Func{}, fmt.Errorf("instruction at %d: %w", at, err)
		}
		here := offset + uint64(at) //nolint:gosec // an index
		if fn.Entry == 0 && s.kind == branch || fn.Entry == last && s.kind == push {
			fn.Entry = here
		}
		target := e.from + uint64(int64(at)+s.target) //nolint:gosec // an address
		if s.kind == call && slices.ContainsFunc(memmove, func(m extent) bool { return m.from == target }) {
			fn.Copy = here
			copies++
		}
		last = here
		at += s.size
	}
	if fn.Entry == 0 {
		return Func{}, errors.New("it does not begin as expected")
	}
	if copies != 1 {
		fn.Copy = 0
	}
	return fn, nil
}

// step is an instruction, as far as it matters here.
type step struct {
	size   int
	kind   kind
	target int64 // of a call, from the instruction on
}

type kind int

const (
	other  kind = iota
	branch      // if a condition holds
	push
	call // of a fixed address
)

func (c code) step(text []byte) (step, error) {
	if c.file.Machine == elf.EM_AARCH64 {
		return stepARM64(text)
	}
	in, err := x86asm.Decode(text, 64)
	if err != nil {
		return step{}, err
	}
	s := step{size: in.Len}
	to, relative := in.Args[0].(x86asm.Rel)
	switch {
	case in.Op == x86asm.PUSH:
		s.kind = push
	case in.Op == x86asm.CALL && relative:
		s.kind, s.target = call, int64(in.Len)+int64(to)
	case in.Op != x86asm.JMP && relative:
		s.kind = branch
	}
	return s, nil
}

func stepARM64(text []byte) (step, error) {
	const size = 4
	if len(text) < size {
		return step{}, errors.New("cut short")
	}
	switch raw := binary.LittleEndian.Uint32(text); {
	case raw&0xff000010 == 0x54000000: // b.cond
		return step{size: size, kind: branch}, nil
	case raw>>26 == 0x25: // bl
		return step{size: size, kind: call, target: int64(int32(raw<<6)>>6) * size}, nil //nolint:gosec // 26 bits with a sign
	}
	return step{size: size}, nil
}

// counter returns the address of the counter of goroutine ids: what the function that makes goroutines atomically adds a batch of them
// to. 0: not found.
func (c code) counter(e extent) uint64 {
	text, _, err := c.bytes(e)
	if err != nil {
		return 0
	}
	if c.file.Machine == elf.EM_AARCH64 {
		return counterARM64(text, c.text+e.from)
	}
	return counterAMD64(text, c.text+e.from)
}

// batch is how many ids a runtime.p takes at once (_GoidCacheBatch).
const batch = 16

// counterAMD64 looks for MOVL $batch, a; LEAQ counter(IP), b; LOCK XADDQ a, 0(b).
func counterAMD64(text []byte, address uint64) uint64 {
	pointer, number := map[x86asm.Reg]uint64{}, map[x86asm.Reg]int64{}
	for at := 0; at < len(text); {
		in, err := x86asm.Decode(text[at:], 64)
		if err != nil {
			return 0
		}
		at += in.Len
		to, _ := in.Args[0].(x86asm.Reg)
		from, _ := in.Args[1].(x86asm.Reg)
		memory, _ := in.Args[0].(x86asm.Mem)
		switch in.Op {
		case x86asm.LEA:
			if m, ok := in.Args[1].(x86asm.Mem); ok && m.Base == x86asm.RIP {
				pointer[to] = address + uint64(at) + uint64(m.Disp) //nolint:gosec // an address
			}
		case x86asm.MOV:
			if n, ok := in.Args[1].(x86asm.Imm); ok && to >= x86asm.EAX && to <= x86asm.R15L {
				number[to-x86asm.EAX+x86asm.RAX] = int64(n)
			}
		case x86asm.XADD:
			if number[from] == batch && memory.Disp == 0 && memory.Index == 0 {
				return pointer[memory.Base]
			}
		default: // moves nothing that counts
		}
	}
	return 0
}

// counterARM64 follows the register that LDADDAL adds through, which ADRP and ADD have loaded.
func counterARM64(text []byte, address uint64) uint64 {
	var page, base [32]uint64 // by register
	for at := 0; at+4 <= len(text); at += 4 {
		raw := binary.LittleEndian.Uint32(text[at:])
		rd, rn := raw&31, raw>>5&31
		if raw&0xffe0fc00 == 0xf8e00000 { // ldaddal x, x, [rn]
			return base[rn]
		}
		in, err := arm64asm.Decode(text[at:])
		if err != nil {
			continue
		}
		switch in.Op {
		case arm64asm.ADRP:
			if rel, ok := in.Args[1].(arm64asm.PCRel); ok {
				page[rd] = (address+uint64(at))&^0xfff + uint64(rel) //nolint:gosec // an address
			}
		case arm64asm.ADD:
			if raw&0xffc00000 == 0x91000000 && page[rn] != 0 { // add rd, rn, #imm
				base[rd] = page[rn] + uint64(raw>>10&0xfff)
			}
		default: // the same
		}
	}
	return 0
}
