// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/busbar/busbar/services/exporter/internal/file"
)

func open(t testing.TB, o file.Options) *file.File {
	t.Helper()
	f, err := file.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAppend(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "made", "data.json")
	f := open(t, file.Options{Path: path, DirMode: 0o700})
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for j := range 50 {
				if err := f.Append(fmt.Appendf(nil, "%d-%d", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	lines := strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n")
	seen := make(map[string]bool)
	for _, line := range lines {
		seen[line] = true
	}
	if len(lines) != 400 || len(seen) != 400 || !seen["7-49"] {
		t.Errorf("%d lines, %d different", len(lines), len(seen))
	}
}

// TestTornRecord holds that what a crash left in part is cut, and that nothing else is.
func TestTornRecord(t *testing.T) {
	t.Parallel()
	framed := func(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }
	for _, tc := range []struct {
		name         string
		framing      file.Framing
		before, want string
	}{
		{"empty", file.Lines, "", "new\n"},
		{"whole", file.Lines, "a\nb\n", "a\nb\nnew\n"},
		{"torn", file.Lines, "a\nb\nc", "a\nb\nnew\n"},
		{"torn, long", file.Lines, "a\n" + strings.Repeat("x", 200<<10), "a\nnew\n"},
		{"nothing but torn", file.Lines, "abc", "new\n"},
		{"whole frames", file.Lengths, framed("a\n") + framed(""), framed("a\n") + framed("") + framed("new")},
		{"torn frame", file.Lengths, framed("a\n") + framed("bcd")[:6], framed("a\n") + framed("new")},
		{"torn length", file.Lengths, framed("a\n") + "\x00\x00", framed("a\n") + framed("new")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			if err := os.WriteFile(path, []byte(tc.before), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := open(t, file.Options{Path: path, Framing: tc.framing}).Append([]byte("new")); err != nil {
				t.Fatal(err)
			}
			if got := read(t, path); got != tc.want {
				t.Errorf("file holds %.80q, want %.80q", got, tc.want)
			}
		})
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	stranger := filepath.Join(folder, "data-of-mine.json")
	if err := os.WriteFile(stranger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(folder, "data-2001-01-01T00-00-00.000.json")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, file.Options{Path: filepath.Join(folder, "data.json"), Rotation: &file.Rotation{MaxBytes: 25, MaxBackups: 3}})
	for i := range 10 { // two records of ten bytes fit
		if err := f.Append(fmt.Appendf(nil, "record %02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(folder, "data*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range names {
		if name != stranger {
			got = append(got, read(t, name))
		}
	}
	want := []string{"record 02\nrecord 03\n", "record 04\nrecord 05\n", "record 06\nrecord 07\n", "record 08\nrecord 09\n"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("files hold %q, want %q", got, want)
	}
	if _, err := os.Stat(stranger); err != nil {
		t.Error("a file of somebody else's is gone:", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "missing", "data")
	if _, err := file.Open(file.Options{Path: path}); err == nil || err.Error() != "open "+path+": no such file or directory" {
		t.Errorf("error %v", err)
	}
}

// FuzzTorn holds that only the end of a file is ever cut.
func FuzzTorn(f *testing.F) {
	f.Add([]byte("a\nb"), 0)
	f.Add([]byte("\x00\x00\x00\x01ab"), 1)
	f.Fuzz(func(t *testing.T, before []byte, framing int) {
		path := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(path, before, 0o600); err != nil {
			t.Fatal(err)
		}
		o := file.Options{Path: path, Framing: file.Framing(framing & 1)}
		file, err := file.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if after := read(t, path); !bytes.HasPrefix(before, []byte(after)) {
			t.Errorf("%q became %q", before, after)
		}
	})
}
