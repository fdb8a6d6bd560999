// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// fileID names a file as the maps of a process do: device and inode.
type fileID struct{ device, inode string }

// mapping is a file whose code a process has mapped.
type mapping struct {
	id         fileID
	path       string // as the process sees it
	addresses  string // start-end
	executable bool   // the program that the process runs
}

// maxMaps bounds how much is read of the maps of a process.
const maxMaps = 8 << 20

// mappings returns the files that a process runs code of, each once. dir is that of the process in procfs.
func mappings(dir string) ([]mapping, error) {
	f, err := os.Open(filepath.Join(dir, "maps"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMaps))
	if err != nil {
		return nil, err
	}
	executable, _ := os.Readlink(filepath.Join(dir, "exe")) // none: a kernel thread
	return parseMaps(text, executable), nil
}

// parseMaps reads lines like "7f00-7f10 r-xp 00001000 fd:00 4711     /usr/lib/libssl.so.3".
func parseMaps(text []byte, executable string) []mapping {
	var found []mapping
	seen := map[fileID]bool{}
	for line := range bytes.Lines(text) {
		path := bytes.IndexByte(line, '/')
		if path < 0 {
			continue
		}
		fields := bytes.Fields(line[:path])
		if len(fields) != 5 || len(fields[1]) < 3 || fields[1][2] != 'x' {
			continue
		}
		m := mapping{
			id: fileID{string(fields[3]), string(fields[4])}, path: strings.TrimSuffix(string(line[path:]), "\n"),
			addresses: string(fields[0]),
		}
		if seen[m.id] {
			continue
		}
		seen[m.id] = true
		m.executable = m.path == executable
		found = append(found, m)
	}
	return found
}

// open returns a path at which the mapped file can be opened. The first choice is the very file, also one that was replaced or
// lies in another mount namespace, but needs a privilege; the second is what lies at its place now.
func (m mapping) open(dir string) string {
	exact := filepath.Join(dir, "map_files", m.addresses)
	if f, err := os.Open(exact); err == nil {
		_ = f.Close()
		return exact
	}
	return filepath.Join(dir, "root", strings.TrimSuffix(m.path, " (deleted)"))
}
