// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
)

func code(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCheap finds the first instruction that the kernel emulates, as long as the arguments and the stack are as they were.
func TestCheap(t *testing.T) {
	const none = -1
	for _, c := range []struct {
		name, code string
		arguments  int
		want       int
	}{
		{"push %rbp", "55 4889e5", 3, 0},
		{"push %r15", "4157 4156", 3, 0},
		{"endbr64; push %rbx", "f30f1efa 53", 3, 4},
		{"test %rdi,%rdi; je", "4885ff 0f849a030000", 3, 3},
		{"xor %r8d,%r8d; xor %ecx,%ecx; jmp", "4531c0 31c9 e9869cffff", 3, 5},
		{"the same, and the fourth argument counts", "4531c0 31c9 e9869cffff", 4, none},
		{"sub $0x18,%rsp; test %edx,%edx; js", "4883ec18 85d2 7829", 3, none},
		{"mov %fs:0x28,%rax; push %rbx", "64488b042528000000 53", 3, 9},
		{"mov %rdi,%rax; mov $1,%edi; jmp", "4889f8 bf01000000 eb00", 3, none},
		{"not an instruction", "06 55", 3, none},
		{"cut short", "4885ff", 3, none},
	} {
		got, ok := cheap(code(t, c.code), c.arguments)
		if (c.want == none) == ok || ok && got != uint64(c.want) {
			t.Errorf("%s: %d %v, want %d", c.name, got, ok, c.want)
		}
	}
}

// TestPasses follows a call only if the arguments are those of the function.
func TestPasses(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       uint64
		ok         bool
	}{
		{"sub $8,%rsp; call .+0x100", "4883ec08 e8fb000000", 0x104, true},
		{"endbr64; sub $8,%rsp; call back", "f30f1efa 4883ec08 e8f3ffffff", 0, true},
		{"mov %rcx,%r8; xor %ecx,%ecx; call", "4989c8 31c9 e800000000", 0, false},
		{"test %edx,%edx; js; call", "85d2 7829 e800000000", 0, false},
		{"cut short", "4883ec08 e8fb00", 0, false},
	} {
		if got, ok := passes(code(t, c.code), 4); got != c.want || ok != c.ok {
			t.Errorf("%s: %#x %v, want %#x %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

// TestPlaces looks at the libraries of this machine: whichever way they were compiled, no trap there is a dear one.
func TestPlaces(t *testing.T) {
	for library, names := range map[string][]string{
		"libssl.so.3":     {"SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "SSL_do_handshake", "SSL_free"},
		"libgnutls.so.30": {"gnutls_record_send", "gnutls_handshake", "gnutls_deinit"},
	} {
		t.Run(library, func(t *testing.T) {
			path, _ := filepath.Glob("/usr/lib/x86_64-linux-gnu/" + library)
			if len(path) == 0 {
				t.Skip("not here")
			}
			found, err := Places(path[0], names)
			if err != nil {
				t.Fatal(err)
			}
			file, err := openText(path[0])
			if err != nil {
				t.Fatal(err)
			}
			defer file.file.Close()
			for name, at := range found {
				if !emulated(file.code(at)) {
					t.Errorf("%s: % x", name, file.code(at)[:8])
				}
			}
			if len(found) == 0 {
				t.Error("nothing found")
			}
		})
	}
}
