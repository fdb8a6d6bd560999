// SPDX-License-Identifier: Apache-2.0

package sel

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listeners finds out who listens where, and is connected to what. The kernel tells it in two halves: /proc/PID/net/tcp lists the listening sockets of a
// network namespace with their inodes, /proc/PID/fd the inodes that a process holds. It belongs to one goroutine, save Connected.
type Listeners struct {
	root string              // where procfs is mounted
	seen map[uint64]struct{} // inodes of listening sockets that New has reported
}

// NewListeners returns a Listeners that has reported nothing yet. root is where procfs is mounted.
func NewListeners(root string) *Listeners {
	return &Listeners{root: root, seen: map[uint64]struct{}{}}
}

// Of returns the ports that a process listens on.
func (l *Listeners) Of(pid uint32) []uint16 {
	sockets := map[uint64]uint16{}
	l.sockets(pid, sockets)
	if len(sockets) == 0 {
		return nil
	}
	var ports []uint16
	for inode := range l.inodes(pid) {
		if port, ok := sockets[inode]; ok {
			ports = append(ports, port)
		}
	}
	return ports
}

// Connected tells whether a process has a connection to a port of whatever host. It reads the table of all connections of the
// process's network namespace, which takes long where they are many.
func (l *Listeners) Connected(pid uint32, port uint16) bool {
	sockets := map[uint64]struct{}{}
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		f, err := os.Open(l.path(pid, table))
		if err != nil {
			continue
		}
		for s := range rows(f) {
			if s.state == "01" && s.remote == port {
				sockets[s.inode] = struct{}{}
			}
		}
		f.Close()
	}
	if len(sockets) == 0 {
		return false
	}
	for inode := range l.inodes(pid) {
		if _, ok := sockets[inode]; ok {
			return true
		}
	}
	return false
}

// New returns those of pids that hold a socket which listens on a wanted port and did not the last time. It reads one table per
// network namespace, and looks into processes only where a table has something new.
func (l *Listeners) New(pids iter.Seq[uint32], wanted func(uint16) bool) []uint32 {
	byNamespace := map[string][]uint32{}
	for pid := range pids {
		if ns, err := os.Readlink(l.path(pid, "ns/net")); err == nil {
			byNamespace[ns] = append(byNamespace[ns], pid)
		}
	}
	all := make(map[uint64]struct{}, len(l.seen))
	var found []uint32
	for _, members := range byNamespace {
		fresh := l.fresh(members, wanted, all)
		if len(fresh) == 0 {
			continue
		}
		for _, pid := range members {
			for inode := range l.inodes(pid) {
				if _, ok := fresh[inode]; ok {
					found = append(found, pid)
					break
				}
			}
		}
	}
	l.seen = all
	return found
}

// fresh returns the wanted listening sockets of the namespace of members that New has not reported, and adds every wanted one
// to all.
func (l *Listeners) fresh(members []uint32, wanted func(uint16) bool, all map[uint64]struct{}) map[uint64]uint16 {
	sockets := map[uint64]uint16{}
	for _, pid := range members {
		if l.sockets(pid, sockets) {
			break // of the next one if this one is gone by now
		}
	}
	for inode, port := range sockets {
		_, known := l.seen[inode]
		if wanted(port) {
			all[inode] = struct{}{}
		}
		if known || !wanted(port) {
			delete(sockets, inode)
		}
	}
	return sockets
}

// sockets adds the listening TCP sockets in the network namespace of a process to byInode, inode to port. It reports whether the
// process was there to ask.
func (l *Listeners) sockets(pid uint32, byInode map[uint64]uint16) bool {
	there := false
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		f, err := os.Open(l.path(pid, table))
		if err != nil {
			continue // without IPv6 there is no tcp6
		}
		there = true
		listening(f, byInode)
		f.Close()
	}
	return there
}

// listening reads the first lines of a /proc/net/tcp: the kernel lists the sockets that listen before all others, which may be
// very many and are not read.
func listening(r io.Reader, byInode map[uint64]uint16) {
	for s := range rows(r) {
		if s.state != "0A" {
			return
		}
		if s.inode != 0 {
			byInode[s.inode] = s.local
		}
	}
}

// row is a line of /proc/net/tcp.
type row struct {
	local, remote uint16 // ports
	state         string // in hexadecimal: 0A listens, 01 is connected
	inode         uint64 // 0: of no process
}

// rows calls yield with each line of a /proc/net/tcp, up to one that cannot be read.
func rows(r io.Reader) iter.Seq[row] {
	return func(yield func(row) bool) {
		lines := bufio.NewScanner(r)
		lines.Scan() // titles
		for lines.Scan() {
			const local, remote, state, inode = 1, 2, 3, 9
			fields := bytes.Fields(lines.Bytes())
			if len(fields) <= inode {
				return
			}
			s := row{state: string(fields[state])}
			var errs [3]error
			s.local, errs[0] = portOf(fields[local])
			s.remote, errs[1] = portOf(fields[remote])
			s.inode, errs[2] = strconv.ParseUint(string(fields[inode]), 10, 64)
			if errors.Join(errs[:]...) != nil || !yield(s) {
				return
			}
		}
	}
}

// portOf reads ADDRESS:PORT in hexadecimal.
func portOf(field []byte) (uint16, error) {
	_, text, _ := strings.Cut(string(field), ":")
	port, err := strconv.ParseUint(text, 16, 16)
	return uint16(port), err
}

// inodes calls yield with the inode of each socket that a process holds.
func (l *Listeners) inodes(pid uint32) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		dir, err := os.Open(l.path(pid, "fd"))
		if err != nil {
			return
		}
		defer dir.Close()
		for {
			names, err := dir.Readdirnames(256)
			for _, name := range names {
				target, err := os.Readlink(filepath.Join(dir.Name(), name))
				if err != nil {
					continue
				}
				number, isSocket := strings.CutPrefix(target, "socket:[")
				inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
				if isSocket && err == nil && !yield(inode) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

func (l *Listeners) path(pid uint32, name string) string {
	return filepath.Join(l.root, strconv.FormatUint(uint64(pid), 10), name)
}
