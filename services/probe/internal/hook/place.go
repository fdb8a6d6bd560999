// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

// Where a trap is put matters. Most instructions under it the process has to execute by itself, in a single step, which takes one more
// trap and under a hypervisor ten times what the hook takes otherwise. What branches, calls and pushes do the kernel does in its stead
// (arch/x86/kernel/uprobes.c). So a function is hooked at the first of those up to which its arguments are in their registers and the
// stack pointer is what it was at entry, which compilers see to wherever a function can be unwound: returns can be hooked there too.

// prologue is how much code of a function is looked at.
const prologue = 96

// Places returns where to hook the functions of these names: as Functions does, or further on in them where that is cheaper.
func Places(path string, names []string) (map[string]uint64, error) {
	found, err := Functions(path, names)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	t, err := openText(path)
	if err != nil {
		return found, nil //nolint:nilerr // another architecture, or not to be read: then where they begin
	}
	defer t.file.Close()
	for _, name := range []string{"SSL_read", "SSL_write"} {
		t.join(found, name, name+"_ex")
	}
	for name, at := range found {
		if n, ok := cheap(t.code(at), arguments(name)); ok {
			found[name] = at + n
		}
	}
	return found, nil
}

// join hooks, in place of two functions of OpenSSL, the one that both call, if it is cheaper to hook: it has the arguments and the
// result of the second one, `extended`, which does nothing before it but pass them on.
func (t text) join(found map[string]uint64, plain, extended string) {
	at, both := found[extended]
	begin, has := found[plain]
	if !both || !has {
		return
	}
	_, cheapPlain := cheap(t.code(begin), arguments(plain))
	_, cheapExtended := cheap(t.code(at), arguments(extended))
	if cheapPlain && cheapExtended {
		return
	}
	inner, passed := passes(t.code(at), arguments(extended))
	called, calls := callee(t.code(begin))
	inner, called = at+inner, begin+called
	if _, ok := cheap(t.code(inner), arguments(extended)); ok && passed && calls && inner == called {
		delete(found, plain)
		found[extended] = inner
	}
}

// arguments returns how many arguments of a function its hook reads.
func arguments(name string) int {
	switch {
	case strings.HasSuffix(name, "_ex2"):
		return 5
	case strings.HasSuffix(name, "_ex"):
		return 4
	default:
		return 3
	}
}

// text is the code of a file for amd64.
type text struct{ file *os.File }

func openText(path string) (text, error) {
	f, err := os.Open(path)
	if err != nil {
		return text{}, err
	}
	var header [20]byte // of ELF, up to its machine
	if _, err := f.ReadAt(header[:], 0); err != nil || elf.Machine(binary.LittleEndian.Uint16(header[18:])) != elf.EM_X86_64 {
		_ = f.Close()
		return text{}, os.ErrInvalid
	}
	return text{f}, nil
}

func (t text) code(at uint64) []byte {
	code := make([]byte, prologue)
	n, _ := t.file.ReadAt(code, int64(at)) //nolint:gosec // within a file
	return code[:n]
}

// cheap returns how far behind the beginning of a function the place is.
func cheap(code []byte, arguments int) (uint64, bool) {
	for at := 0; at < len(code); {
		if emulated(code[at:]) {
			return uint64(at), true
		}
		s := decode(code[at:])
		if s.size == 0 || s.branch || s.stack || s.touches(arguments) {
			break
		}
		at += s.size
	}
	return 0, false
}

// emulated tells whether the kernel does what an instruction does: push of a register, relative call and jump.
func emulated(code []byte) bool {
	first, second := code[0], byte(0)
	if len(code) > 1 {
		second = code[1]
	}
	return first&0xf8 == 0x50 || first == 0x41 && second&0xf8 == 0x50 || first == 0xe8 || first == 0xe9 || first == 0xeb ||
		first&0xf0 == 0x70 || first == 0x0f && second&0xf0 == 0x80
}

const relativeCall = 0xe8

// passes returns, from the beginning of a function on, the function that it calls with the arguments it was given.
func passes(code []byte, arguments int) (uint64, bool) {
	for at := 0; at < len(code); {
		if code[at] == relativeCall {
			return target(code, at)
		}
		s := decode(code[at:])
		if s.size == 0 || s.branch || s.touches(arguments) {
			break
		}
		at += s.size
	}
	return 0, false
}

// callee returns, from the beginning of a function on, the function whose call comes first in its code.
func callee(code []byte) (uint64, bool) {
	for at := 0; at < len(code); {
		if code[at] == relativeCall {
			return target(code, at)
		}
		s := decode(code[at:])
		if s.size == 0 {
			break
		}
		at += s.size
	}
	return 0, false
}

// target returns where the call at an index of the code goes, from the beginning of the code on.
func target(code []byte, at int) (uint64, bool) {
	const size = 5
	if at+size > len(code) {
		return 0, false
	}
	offset := int32(binary.LittleEndian.Uint32(code[at+1:])) //nolint:gosec // it has a sign
	return uint64(int64(at) + size + int64(offset)), true    //nolint:gosec // wraps when it goes back
}

// step is an instruction, as far as it matters here.
type step struct {
	size    int // 0: not known
	branch  bool
	stack   bool // it moves the stack pointer
	written int  // number of the register that it writes to; -1: none
}

// argumentRegisters are those of the System V ABI, as instructions number them.
var argumentRegisters = [...]int{7, 6, 2, 1, 8} //nolint:gochecknoglobals // a constant

const stackPointer = 4

func (s step) touches(arguments int) bool {
	return slices.Contains(argumentRegisters[:arguments], s.written)
}

func decode(code []byte) step {
	if len(code) >= 4 && [4]byte(code) == [4]byte{0xf3, 0x0f, 0x1e, 0xfa} { // endbr64
		return step{size: 4, written: -1}
	}
	in, err := x86asm.Decode(code, 64)
	if err != nil {
		return step{}
	}
	s := step{size: in.Len, written: -1}
	if _, s.branch = in.Args[0].(x86asm.Rel); s.branch {
		return s
	}
	to, register := in.Args[0].(x86asm.Reg)
	switch in.Op {
	case x86asm.TEST, x86asm.CMP, x86asm.NOP:
		return s
	case x86asm.PUSH:
		s.stack = true
		return s
	case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.LEA, x86asm.XOR, x86asm.AND, x86asm.OR, x86asm.ADD, x86asm.SUB:
		if !register {
			return s
		}
	default:
		return step{}
	}
	switch {
	case to >= x86asm.EAX && to <= x86asm.R15L:
		s.written = int(to - x86asm.EAX)
	case to >= x86asm.RAX && to <= x86asm.R15:
		s.written = int(to - x86asm.RAX)
	default:
		return step{} // part of a register
	}
	s.stack = s.written == stackPointer
	return s
}
