// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxMounts bounds how many mount namespaces are remembered; beyond, they are looked into again.
const maxMounts = 4096

// libraryDirs are where the libraries of a system lie, below its root: there and in folders that are named after a machine.
func libraryDirs() []string {
	return []string{"lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib", "lib/*-linux-*", "usr/lib/*-linux-*"}
}

// lookAhead hooks the libraries that processes may come to use in the mount namespace of one, whose folder in procfs is dir. It does so
// once for a namespace: what is installed later is found when a process has it mapped.
func (h *Hooks) lookAhead(dir string) {
	mount, err := os.Readlink(filepath.Join(dir, "ns", "mnt"))
	if err != nil || h.mounts[mount] {
		return
	}
	if len(h.mounts) >= maxMounts {
		clear(h.mounts)
	}
	h.mounts[mount] = true
	root := filepath.Join(dir, "root")
	for _, lib := range libraryDirs() {
		found, _ := filepath.Glob(filepath.Join(root, lib, "*.so*")) // the pattern is well formed
		for _, path := range found {
			if name := strings.TrimPrefix(path, root); h.wanted(name, false) {
				h.hookAhead(path, name)
			}
		}
	}
}

func (h *Hooks) hookAhead(path, name string) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return // a link to somewhere else, or a device that must not be opened
	}
	f, err := os.Open(path)
	if err != nil {
		return
	}
	id, err := idOf(f)
	if err != nil || h.files[id] != nil {
		_ = f.Close()
		return
	}
	h.attach(mapping{id: id, path: name}, f, true)
}

// idOf returns what maps will say about a file. Its own status does not tell: file systems that lie on others show other devices and
// inodes there.
func idOf(f *os.File) (fileID, error) {
	at, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		return fileID{}, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	defer func() { _ = unix.Munmap(at) }()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fileID{}, err
	}
	begin := strconv.FormatUint(uint64(uintptr(unsafe.Pointer(&at[0]))), 16) + "-"
	for line := range bytes.Lines(maps) {
		if found := parseMaps(line, ""); len(found) == 1 && strings.HasPrefix(found[0].addresses, begin) {
			return found[0].id, nil
		}
	}
	return fileID{}, fmt.Errorf("no mapping of %s", f.Name())
}
