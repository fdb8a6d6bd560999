// SPDX-License-Identifier: Apache-2.0

// Package goexetest builds Go programs for tests, with every tool chain that is on the machine.
package goexetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Toolchains returns the go commands on this machine, by version as "1.22": the one that runs the test, Debian's, and, if GO_TOOLCHAINS
// is "all", those that GOTOOLCHAIN has fetched before. If it is "path", only the first one. Nothing is fetched.
func Toolchains(t testing.TB) map[string]string {
	t.Helper()
	found := map[string]string{}
	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs, _ := filepath.Glob("/usr/lib/go-1.*")
	var fetched []string
	switch os.Getenv("GO_TOOLCHAINS") {
	case "all":
		fetched, _ = filepath.Glob(filepath.Join(strings.TrimSpace(string(cache)), "golang.org/toolchain@*"))
	case "path":
		dirs = nil
	}
	for _, command := range append([]string{"go"}, append(dirs, fetched...)...) {
		if command != "go" {
			command = filepath.Join(command, "bin/go")
		}
		out, err := run(t, command, nil, "env", "GOVERSION").Output()
		if parts := strings.SplitN(strings.TrimPrefix(strings.TrimSpace(string(out)), "go"), ".", 3); err == nil && len(parts) > 1 {
			found[parts[0]+"."+parts[1]] = command
		}
	}
	return found
}

// Build builds the program in a folder and returns the file. The environment adds to that of the test.
func Build(t testing.TB, command, dir string, env []string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	c := run(t, command, env, append(append([]string{"build", "-o", out}, flags...), ".")...)
	c.Dir = dir
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", c, err, text)
	}
	return out
}

func run(t testing.TB, name string, env []string, args ...string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env = append(append(os.Environ(), "GOWORK=off", "GOTOOLCHAIN=local", "GOFLAGS="), env...)
	return c
}
