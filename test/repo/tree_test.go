// SPDX-License-Identifier: Apache-2.0

// Package repo holds the rules of the repository that no compiler does: who may import what, that packages and files
// say what they are and under which licence, and that the documents agree with the code.
package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the root of the repository, seen from this folder.
const root = "../.."

// files lists the files of the repository below root, with slashes, relative to it: no tools, builds, fixtures.
func files(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir() && (name == ".git" || name == ".bin" || name == ".cache" || name == "bin" || name == "testdata"):
			return filepath.SkipDir
		case d.Type().IsRegular():
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("the walk found %d files only", len(out))
	}
	return out
}

// goFiles parses the Go files of the repository, comments and imports only, by path.
func goFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	out := make(map[string]*ast.File)
	fset := token.NewFileSet()
	for _, path := range files(t) {
		if !strings.HasSuffix(path, ".go") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(root, path), nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = f
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
