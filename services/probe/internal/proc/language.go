// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"debug/elf"
	"io"
	"os"
	"path"
	"strings"
	"syscall"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// fileID names the content of an executable file for as long as nobody rewrites it.
type fileID struct {
	device, inode uint64
	modified      int64
}

// maxLanguages bounds the cache; a node has some thousand different executables at most.
const maxLanguages = 4096

// languages remembers the language of executables.
type languages map[fileID]eventv1.Language

// of returns the language of the program in a file. The file is opened through the magic link /proc/PID/exe, which reaches the
// very file that runs, in any mount namespace, even if it is deleted. name is its path, for interpreters.
func (l *languages) of(link, name string) eventv1.Language {
	if lang := byName(name); lang != eventv1.Language_LANGUAGE_UNSPECIFIED {
		return lang
	}
	f, err := os.Open(link)
	if err != nil {
		return eventv1.Language_LANGUAGE_UNSPECIFIED
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return eventv1.Language_LANGUAGE_UNSPECIFIED
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return byContent(f)
	}
	id := fileID{device: sys.Dev, inode: sys.Ino, modified: info.ModTime().UnixNano()}
	if lang, ok := (*l)[id]; ok {
		return lang
	}
	if len(*l) >= maxLanguages {
		clear(*l)
	}
	lang := byContent(f)
	(*l)[id] = lang
	return lang
}

// byName tells the language of what an interpreter runs, by its base name without version and variant: python3.12, php-fpm8.2 and
// ruby3.1 count as python, php-fpm and ruby.
func byName(executable string) eventv1.Language {
	switch strings.TrimRight(path.Base(executable), "0123456789.-") {
	case "java":
		return eventv1.Language_LANGUAGE_JAVA
	case "node", "nodejs":
		return eventv1.Language_LANGUAGE_NODEJS
	case "python", "pypy":
		return eventv1.Language_LANGUAGE_PYTHON
	case "ruby":
		return eventv1.Language_LANGUAGE_RUBY
	case "dotnet":
		return eventv1.Language_LANGUAGE_DOTNET
	case "php", "php-fpm", "php-cgi":
		return eventv1.Language_LANGUAGE_PHP
	}
	return eventv1.Language_LANGUAGE_UNSPECIFIED
}

// byLibrary tells the language whose runtime is in a library, by its file name.
func byLibrary(file string) eventv1.Language {
	name, _, ok := strings.Cut(file, ".so")
	if !ok {
		return eventv1.Language_LANGUAGE_UNSPECIFIED
	}
	switch name = strings.TrimRight(name, "0123456789.-"); name {
	case "libjvm":
		return eventv1.Language_LANGUAGE_JAVA
	case "libcoreclr":
		return eventv1.Language_LANGUAGE_DOTNET
	case "libnode":
		return eventv1.Language_LANGUAGE_NODEJS
	case "libpython":
		return eventv1.Language_LANGUAGE_PYTHON
	case "libruby":
		return eventv1.Language_LANGUAGE_RUBY
	case "libphp":
		return eventv1.Language_LANGUAGE_PHP
	}
	return eventv1.Language_LANGUAGE_UNSPECIFIED
}

// byMaps looks for a language runtime among the files that a process has mapped: servers that embed one (uwsgi, Apache with PHP,
// launchers of Java and .NET) are C programs by their executable.
func byMaps(dir string) eventv1.Language {
	data, err := readBounded(dir+"/maps", maxMaps)
	if err != nil {
		return eventv1.Language_LANGUAGE_UNSPECIFIED
	}
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		slash := bytes.LastIndexByte(line, '/')
		if slash < 0 {
			continue
		}
		if lang := byLibrary(string(line[slash+1:])); lang != eventv1.Language_LANGUAGE_UNSPECIFIED {
			return lang
		}
	}
	return eventv1.Language_LANGUAGE_UNSPECIFIED
}

// byContent tells the language of a native executable, or unspecified for what is none.
func byContent(r io.ReaderAt) eventv1.Language {
	f, err := elf.NewFile(r)
	if err != nil {
		return eventv1.Language_LANGUAGE_UNSPECIFIED
	}
	switch {
	case isGo(f):
		return eventv1.Language_LANGUAGE_GO
	case isDotnet(f):
		return eventv1.Language_LANGUAGE_DOTNET
	case isRust(f):
		return eventv1.Language_LANGUAGE_RUST
	}
	return eventv1.Language_LANGUAGE_CPP
}

// isGo looks for sections that survive stripping. A C program with a Go library in it (c-shared) is no Go program: there they
// are in the library.
func isGo(f *elf.File) bool {
	for _, s := range f.Sections {
		switch s.Name {
		case ".go.buildinfo", ".gopclntab", ".data.rel.ro.gopclntab", ".note.go.buildid":
			return true
		}
	}
	return false
}

// isDotnet looks for the symbol that a single-file .NET program exports for debuggers.
func isDotnet(f *elf.File) bool {
	if s := f.Section(".dynstr"); s != nil {
		return contains(s, maxStrings, "DotNetRuntimeInfo", "DotNetRuntimeDebugHeader")
	}
	return false
}

// maxStrings bounds how much of an executable's constants is searched.
const maxStrings = 16 << 20

// isRust looks for the compiler's name, and for source paths of the standard library, which its panic messages hold and
// stripping leaves alone.
func isRust(f *elf.File) bool {
	if s := f.Section(".comment"); s != nil && contains(s, 1<<20, "rustc version ") {
		return true
	}
	if s := f.Section(".rodata"); s != nil {
		return contains(s, maxStrings, "/rustc/", "library/std/src/", "library/core/src/")
	}
	return false
}

// contains tells whether one of the needles is in the first limit bytes of a section. It reads in pieces that overlap by more
// than a needle.
func contains(s *elf.Section, limit int64, needles ...string) bool {
	if s.Type == elf.SHT_NOBITS {
		return false
	}
	const overlap = 64
	buf := make([]byte, 64<<10)
	for at := int64(0); at < limit; at += int64(len(buf) - overlap) {
		n, err := s.ReadAt(buf, at)
		for _, needle := range needles {
			if bytes.Contains(buf[:n], []byte(needle)) {
				return true
			}
		}
		if err != nil {
			return false
		}
	}
	return false
}
