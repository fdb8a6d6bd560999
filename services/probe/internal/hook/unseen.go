// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"bytes"
	"debug/elf"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Unseen is a program whose TLS cannot be seen, should it use any.
type Unseen struct {
	Executable string
	PIDs       []uint32
	Reason     string // what encrypts inside it
}

// maxConstants bounds how much of the constants of an executable is searched.
const maxConstants = 64 << 20

// FindUnseen looks for processes that hold a TLS library none of whose functions is among the given ones. root is where procfs is
// mounted. Programs in Go are left out: they have their own hooks.
func FindUnseen(root string, functions []string) []Unseen {
	dirs, _ := filepath.Glob(filepath.Join(root, "[0-9]*")) // the pattern is well formed
	judged := map[fileID]string{}
	type kind struct{ executable, reason string }
	found := map[kind]*Unseen{}
	for _, dir := range dirs {
		pid, err := strconv.ParseUint(filepath.Base(dir), 10, 32)
		if err != nil {
			continue
		}
		mapped, err := mappings(dir)
		if err != nil {
			continue
		}
		reason, executable := why(dir, mapped, functions, judged)
		if reason == "" {
			continue
		}
		key := kind{executable, reason}
		if found[key] == nil {
			found[key] = &Unseen{Executable: executable, Reason: reason}
		}
		found[key].PIDs = append(found[key].PIDs, uint32(pid))
	}
	var all []Unseen
	for _, u := range found {
		slices.Sort(u.PIDs)
		all = append(all, *u)
	}
	slices.SortFunc(all, func(a, b Unseen) int { return strings.Compare(a.Executable+a.Reason, b.Executable+b.Reason) })
	return all
}

// why tells what of a process encrypts and cannot be seen, and names its executable; an empty reason stands for nothing.
func why(dir string, mapped []mapping, functions []string, judged map[fileID]string) (reason, executable string) {
	for _, m := range mapped {
		name := path.Base(m.path)
		switch {
		case strings.HasPrefix(name, "libjvm."):
			reason = "the JDK's own TLS"
		case strings.HasPrefix(name, "libssl3.") && reason == "":
			reason = "NSS"
		case mayHoldTLS(name) && !m.executable:
			if found, err := Functions(m.open(dir), functions); err == nil && len(found) > 0 {
				return "", ""
			}
		}
		if m.executable {
			executable = m.path
		}
	}
	if reason != "" || executable == "" {
		return reason, executable
	}
	i := slices.IndexFunc(mapped, func(m mapping) bool { return m.executable })
	r, ok := judged[mapped[i].id]
	if !ok {
		r = inside(mapped[i].open(dir), functions)
		judged[mapped[i].id] = r
	}
	return r, executable
}

// inside names the TLS library that is linked into an executable and has no symbols there, by what its messages say.
func inside(file string, functions []string) string {
	if found, err := Functions(file, functions); err != nil || len(found) > 0 {
		return ""
	}
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil || e.Section(".go.buildinfo") != nil || e.Section(".rodata") == nil {
		return ""
	}
	for _, l := range []struct{ says, reason string }{
		{"/rustls-", "rustls inside the executable"},
		{"third_party/boringssl", "BoringSSL without symbols inside the executable"},
		{"BoringSSL", "BoringSSL without symbols inside the executable"},
		{"ssl/record/rec_layer", "OpenSSL without symbols inside the executable"},
	} {
		if says(e.Section(".rodata"), l.says) {
			return l.reason
		}
	}
	return ""
}

// says tells whether a text is in a section, which is read in pieces that overlap by more than the text.
func says(s *elf.Section, text string) bool {
	const overlap = 64
	buf := make([]byte, 1<<20)
	if s.Type == elf.SHT_NOBITS {
		return false
	}
	for at := int64(0); at < maxConstants; at += int64(len(buf) - overlap) {
		n, err := s.ReadAt(buf, at)
		if bytes.Contains(buf[:n], []byte(text)) {
			return true
		}
		if err != nil { // io.EOF among them
			return false
		}
	}
	return false
}
