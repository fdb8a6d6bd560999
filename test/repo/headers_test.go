// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"go/ast"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every package says what it is for. One that is generated altogether is described by its source, one of tests by them.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	type pkg struct {
		name      string
		commented bool
		written   bool // holds a file that is not generated
	}
	packages := make(map[string]*pkg)
	for file, parsed := range goFiles(t) {
		name := parsed.Name.Name
		key := path.Dir(file) + " " + strings.TrimSuffix(name, "_test")
		p := packages[key]
		if p == nil {
			p = &pkg{name: strings.TrimSuffix(name, "_test")}
			packages[key] = p
		}
		p.written = p.written || !ast.IsGenerated(parsed) && !strings.HasSuffix(file, "_test.go")
		want := "Package " + p.name + " "
		if p.name == "main" {
			want = "Command "
		}
		p.commented = p.commented || strings.HasPrefix(parsed.Doc.Text(), want)
	}
	for where, p := range packages {
		if p.written && !p.commented {
			t.Errorf("%s: no file has a comment that begins with %q or \"Command …\"", where, "Package "+p.name)
		}
	}
}

// Every source file names its licence on one of its first lines.
func TestLicences(t *testing.T) {
	t.Parallel()
	const (
		apache = "SPDX-License-Identifier: Apache-2.0"
		kernel = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause"
	)
	for _, file := range files(t) {
		var want string
		switch ext := path.Ext(file); {
		case strings.HasPrefix(file, "bpf/") && (ext == ".c" || ext == ".h"):
			want = kernel
		case ext == ".go", ext == ".proto", ext == ".sh", file == "Makefile", file == ".ci/run", path.Dir(file) == "hack":
			want = apache
		default:
			continue
		}
		text := read(t, file)
		if strings.HasSuffix(file, ".go") && strings.HasPrefix(text, "// Code generated ") {
			continue // by a generator that writes no licence: that of the source holds
		}
		head := strings.SplitN(text, "\n", 8)
		if !slices.ContainsFunc(head, func(line string) bool { return strings.HasSuffix(strings.TrimSuffix(line, " */"), want) }) {
			t.Errorf("%s: the first lines lack %q", file, want)
		}
	}
}

// Names that say nothing about what is inside attract everything.
func TestFolderNames(t *testing.T) {
	t.Parallel()
	for _, file := range files(t) {
		for folder := range strings.SplitSeq(path.Dir(file), "/") {
			switch folder {
			case "util", "utils", "common", "helper", "helpers", "types", "pkg", "misc":
				t.Errorf("%s: a folder is named for what it provides, and %q says nothing", file, folder)
			}
		}
	}
}

// Links between documents lead somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	all := files(t)
	for _, file := range all {
		if path.Ext(file) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(read(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := path.Join(path.Dir(file), m[1])
			if matches, err := filepath.Glob(filepath.Join(root, target)); err != nil || len(matches) == 0 {
				t.Errorf("%s links to %s, which does not exist", file, m[1])
			}
		}
	}
}
