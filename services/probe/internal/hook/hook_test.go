// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseMaps(t *testing.T) {
	text := `55d0c0a00000-55d0c0a28000 r--p 00000000 fd:00 100                        /usr/sbin/nginx
55d0c0a28000-55d0c0b00000 r-xp 00028000 fd:00 100                        /usr/sbin/nginx
7f3200000000-7f3200010000 rw-p 00000000 00:00 0 
7f32d3f06000-7f32d3f60000 r-xp 0001e000 00:2f 4711                       /usr/lib/with space/libssl.so.3 (deleted)
7f32d4000000-7f32d4010000 r-xp 0001e000 00:2f 4711                       /usr/lib/with space/libssl.so.3 (deleted)
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
cut off`
	want := []mapping{
		{fileID{"fd:00", "100"}, "/usr/sbin/nginx", "55d0c0a28000-55d0c0b00000", true},
		{fileID{"00:2f", "4711"}, "/usr/lib/with space/libssl.so.3 (deleted)", "7f32d3f06000-7f32d3f60000", false},
	}
	if diff := cmp.Diff(want, parseMaps([]byte(text), "/usr/sbin/nginx"), cmp.AllowUnexported(mapping{}, fileID{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func FuzzParseMaps(f *testing.F) {
	f.Add([]byte("55d0c0a28000-55d0c0b00000 r-xp 00028000 fd:00 100    /usr/sbin/nginx\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, m := range parseMaps(text, "/x") {
			if m.path == "" || m.path[0] != '/' || m.addresses == "" {
				t.Errorf("%+v", m)
			}
		}
	})
}

// kernel is what hooks are made with in these tests.
type kernel struct {
	attached chan string
	closed   chan string
}

func (k *kernel) kind(fail bool) Kind {
	executable, _ := os.Executable()
	return Kind{
		Wanted: func(path string, isExecutable bool) bool { return path == executable && isExecutable },
		Attach: func(path string) (io.Closer, error) {
			k.attached <- path
			if fail {
				return nil, errors.New("refused")
			}
			return k, nil
		},
	}
}

func (k *kernel) Close() error {
	k.closed <- "closed"
	return nil
}

// start runs hooks until the returned function is called.
func start(t *testing.T, h *Hooks) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestOnce looks at this very process twice: its file is hooked once, and let go of at the end.
func TestOnce(t *testing.T) {
	k := &kernel{make(chan string, 8), make(chan string, 8)}
	h := New("/proc", slog.New(slog.DiscardHandler), k.kind(false))
	stop := start(t, h)
	h.Look(uint32(os.Getpid()))
	select {
	case path := <-k.attached:
		if path == "" {
			t.Error("no path")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the executable of the test is not hooked")
	}
	h.Look(uint32(os.Getpid()))
	h.Look(1 << 30) // nobody
	stop()
	if len(k.attached) != 0 || len(k.closed) != 1 || h.Files() != 0 {
		t.Errorf("%d further files, %d closed, %d left", len(k.attached), len(k.closed), h.Files())
	}
}

// TestReady asks about a process before Run: hooks are not ready while its files are being hooked.
func TestReady(t *testing.T) {
	attached := make(chan bool, 1)
	var h *Hooks
	h = New("/proc", slog.New(slog.DiscardHandler), Kind{
		Wanted: func(_ string, executable bool) bool { return executable },
		Attach: func(string) (io.Closer, error) {
			attached <- h.Ready()
			return nil, nil
		},
	})
	h.Look(uint32(os.Getpid()))
	stop := start(t, h)
	early := <-attached
	stop()
	if early || !h.Ready() {
		t.Errorf("ready before: %t, afterwards: %t", early, h.Ready())
	}
}

// TestRefused has a file that cannot be hooked: that is said once, and not tried again.
func TestRefused(t *testing.T) {
	k := &kernel{make(chan string, 8), make(chan string, 8)}
	h := New("/proc", slog.New(slog.DiscardHandler), k.kind(true))
	h.look(uint32(os.Getpid()))
	h.look(uint32(os.Getpid()))
	if len(k.attached) != 1 || h.Files() != 0 {
		t.Errorf("tried %d times, %d hooked", len(k.attached), h.Files())
	}
}

// TestSweep has a file that nobody maps any more: it is let go of at the second sweep, the others stay.
func TestSweep(t *testing.T) {
	k := &kernel{make(chan string, 8), make(chan string, 8)}
	h := New("/proc", slog.New(slog.DiscardHandler), k.kind(false))
	h.look(uint32(os.Getpid()))
	gone := fileID{"ff:ff", "1"}
	h.files[gone] = &file{hooks: []io.Closer{k}}
	h.hooked.Add(1)
	h.sweep()
	if len(k.closed) != 0 || h.files[gone] == nil {
		t.Fatal("gone after one sweep")
	}
	h.sweep()
	if len(k.closed) != 1 || h.files[gone] != nil || h.Files() != 1 {
		t.Errorf("%d closed, %d left", len(k.closed), h.Files())
	}
}

// TestEnded asks about files of a process that ends before they can be opened: the next process that has them mapped gets them hooked.
func TestEnded(t *testing.T) {
	k := &kernel{make(chan string, 8), make(chan string, 8)}
	h := New("/proc", slog.New(slog.DiscardHandler), k.kind(false))
	self := h.dir(uint32(os.Getpid()))
	mapped, err := mappings(self)
	if err != nil {
		t.Fatal(err)
	}
	if files := h.open(h.dir(1<<30), mapped); len(files) > 0 || len(h.files) > 0 {
		t.Fatalf("%d files of nobody opened, %d remembered", len(files), len(h.files))
	}
	h.look(uint32(os.Getpid()))
	if len(k.attached) != 1 || h.Files() != 1 {
		t.Errorf("tried %d times, %d hooked", len(k.attached), h.Files())
	}
}

// TestAhead has a library in the folders of a mount namespace: it is hooked before anybody has it mapped, known as the same file when
// somebody has, and kept.
func TestAhead(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "1")
	lib := filepath.Join(dir, "root", "usr", "lib", "x86_64-linux-gnu", "libssl.so.3")
	for _, d := range []string{filepath.Dir(lib), filepath.Join(dir, "ns")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(lib, []byte("a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("mnt:[1]", filepath.Join(dir, "ns", "mnt")); err != nil {
		t.Fatal(err)
	}
	k := &kernel{make(chan string, 8), make(chan string, 8)}
	kind := k.kind(false)
	kind.Wanted = func(path string, _ bool) bool { return mayHoldTLS(filepath.Base(path)) }
	h := New(root, slog.New(slog.DiscardHandler), kind)
	h.lookAhead(dir)
	h.lookAhead(dir)
	f, err := os.Open(lib)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := idOf(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.attached) != 1 || h.files[id] == nil {
		t.Fatalf("%d attached; %v is not among %v", len(k.attached), id, h.files)
	}
	h.sweep()
	h.sweep()
	if len(k.closed) != 0 || h.Files() != 1 {
		t.Errorf("%d closed, %d left", len(k.closed), h.Files())
	}
}

func TestFunctions(t *testing.T) {
	libc := ""
	for _, pattern := range []string{"/lib/*-linux-gnu/libc.so.6", "/lib*/libc.so.6"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			libc = found[0]
		}
	}
	if libc == "" {
		t.Skip("no libc.so.6 here")
	}
	found, err := Functions(libc, []string{"malloc", "free", "SSL_read"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, offset := range found {
		names = append(names, name)
		if offset == 0 {
			t.Errorf("%s at 0", name)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"free", "malloc"}) {
		t.Error(names)
	}
	if found, err := Functions("hook_test.go", []string{"malloc"}); err == nil {
		t.Errorf("of a text: %v", found)
	}
}

// TestUnseen runs an executable that says it has rustls inside, and finds it; one with hooked functions is not found.
func TestUnseen(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if reason := inside(self, []string{"malloc"}); reason != "" {
		t.Errorf("a Go program: %s", reason)
	}
	source, program := filepath.Join(t.TempDir(), "x.c"), filepath.Join(t.TempDir(), "x")
	text := `#include <stdio.h>
int SSL_write(void) { return 0; }
int main(void) { puts("/registry/src/rustls-0.23.1/src/lib.rs"); fflush(stdout); getchar(); return SSL_write(); }`
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cc", "-o", program, source).CombinedOutput(); err != nil {
		t.Skipf("no C compiler: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}()
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	mine := func(functions ...string) []Unseen {
		return slices.DeleteFunc(FindUnseen("/proc", functions), func(u Unseen) bool { return u.Executable != program })
	}
	want := []Unseen{{program, []uint32{uint32(cmd.Process.Pid)}, "rustls inside the executable"}}
	if diff := cmp.Diff(want, mine("SSL_read")); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := mine("SSL_write"); len(got) > 0 {
		t.Errorf("%+v can be hooked", got)
	}
}
