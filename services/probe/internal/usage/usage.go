// SPDX-License-Identifier: Apache-2.0

// Package usage measures what processes use: CPU, memory, storage, network, as /proc says. It tells what was used between two readings, so
// that whoever adds up needs no memory of processes.
//
// A process that began after the meter is measured from its beginning, another one from the first reading on; what it uses between
// the last reading and its end is nobody's. The network is counted for a namespace and not for a process: of the processes that share one
// the oldest has it, and none has that of the machine itself. Nothing is allocated for a process but its sample.
package usage

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// MaxProcesses bounds what is measured; of more processes those that came later are left out.
const MaxProcesses = 1000

// maxFile bounds what is read of a file. A network namespace with more interfaces than fit has no figures.
const maxFile = 64 << 10

// Meter remembers the last reading of each process. It is used by one goroutine at a time.
type Meter struct {
	root      string // of procfs
	began     uint64 // Unix nanoseconds
	machine   string // network namespace, "net:[INODE]"
	page      uint64 // bytes
	known     map[identity]*reading
	networks  map[string]*network
	pass      uint64
	buf, path []byte
}

// identity is what names a process for ever.
type identity struct {
	pid   uint32
	start uint64
}

// reading is what a process had used so far.
type reading struct {
	time            uint64 // Unix nanoseconds
	started         uint64 // of the process, as the kernel counts; another one has its id when this changes
	user, system    uint64 // nanoseconds
	disk            transfer
	hasDisk         bool
	memory, virtual uint64
	userID          uint32
	namespace       string // of the network; empty if unknown
	pass            uint64 // in which it was read
	settled         bool   // userID and namespace are known
}

type transfer struct{ read, written uint64 }

// network is a network namespace.
type network struct {
	transfer
	known  bool // there is a reading
	oldest *eventv1.Process
	sample *eventv1.ProcessSample // of the oldest, which gets the figures; nil if it has none
	pass   uint64
}

// New returns a meter that reads the procfs at root. What begins from now on is measured from its beginning.
func New(root string) *Meter {
	machine, _ := os.Readlink(root + "/1/ns/net")
	return &Meter{
		root: root, began: uint64(time.Now().UnixNano()), machine: machine, page: uint64(os.Getpagesize()), //nolint:gosec // both positive
		known: map[identity]*reading{}, networks: map[string]*network{}, buf: make([]byte, maxFile),
	}
}

// Read measures processes, and forgets those that are not among them. It returns how many it left out, because they were too many.
func (m *Meter) Read(processes []*eventv1.Process) (samples []*eventv1.ProcessSample, left int) {
	m.pass++
	cpus := processors()
	samples = make([]*eventv1.ProcessSample, 0, min(len(processes), MaxProcesses))
	for _, p := range processes {
		id := identity{p.GetPid(), p.GetStartUnixNano()}
		if m.known[id] == nil && len(m.known) >= MaxProcesses {
			left++
			continue
		}
		if s := m.sample(id, p); s != nil {
			s.Processors = cpus
			samples = append(samples, s)
		}
	}
	m.addNetworks()
	m.forget()
	return samples, left
}

// sample reads a process. It is nil if there is nothing to say yet, or no more.
func (m *Meter) sample(id identity, p *eventv1.Process) *eventv1.ProcessSample {
	before := m.known[id]
	now := reading{pass: m.pass}
	if before != nil {
		now.userID, now.namespace, now.settled = before.userID, before.namespace, before.settled
	}
	if !m.readProcess(id.pid, &now) || before != nil && before.started != now.started {
		return nil
	}
	if before == nil {
		before = new(reading)
		m.known[id] = before
		if id.start < m.began {
			*before = now
			m.carry(now.namespace, p, nil)
			return nil
		}
		before.time, before.hasDisk = id.start, now.hasDisk
	}
	s := &eventv1.ProcessSample{
		Process: p, StartUnixNano: min(before.time, now.time), TimeUnixNano: now.time, UserNano: since(before.user, now.user), SystemNano: since(before.system, now.system),
		MemoryBytes: now.memory, VirtualBytes: now.virtual, UserId: now.userID,
	}
	if now.hasDisk && before.hasDisk {
		s.Disk = now.disk.since(before.disk)
	}
	*before = now
	m.carry(now.namespace, p, s)
	return s
}

// since is how much a counter has grown. The kernel's estimate of what is user's and what is system's time may be taken back a bit.
func since(before, now uint64) uint64 { return now - min(before, now) }

func (t transfer) since(before transfer) *eventv1.Transfer {
	return &eventv1.Transfer{ReadBytes: since(before.read, t.read), WrittenBytes: since(before.written, t.written)}
}

// carry makes a process the one that has the figures of its network namespace, if it is the oldest in it that has a sample.
func (m *Meter) carry(namespace string, p *eventv1.Process, s *eventv1.ProcessSample) {
	if namespace == "" || namespace == m.machine {
		return
	}
	n := m.networks[namespace]
	if n == nil {
		n = new(network)
		m.networks[namespace] = n
	}
	if n.pass != m.pass || n.sample == nil && s != nil || (n.sample == nil) == (s == nil) && older(p, n.oldest) {
		n.oldest, n.sample, n.pass = p, s, m.pass
	}
}

func older(a, b *eventv1.Process) bool {
	if a.GetStartUnixNano() != b.GetStartUnixNano() {
		return a.GetStartUnixNano() < b.GetStartUnixNano()
	}
	return a.GetPid() < b.GetPid()
}

// addNetworks gives the figures of each network namespace to the sample of its oldest process. The first reading is where they begin: a
// namespace may be older than its processes.
func (m *Meter) addNetworks() {
	for _, n := range m.networks {
		if n.pass != m.pass || n.known && n.sample == nil {
			continue
		}
		now, ok := m.readNetwork(n.oldest.GetPid())
		if !ok {
			continue
		}
		if n.known {
			n.sample.Network = now.since(n.transfer)
		}
		n.transfer, n.known = now, true
	}
}

// forget drops what this pass has not seen.
func (m *Meter) forget() {
	for id, r := range m.known {
		if r.pass != m.pass {
			delete(m.known, id)
		}
	}
	for name, n := range m.networks {
		if n.pass != m.pass {
			delete(m.networks, name)
		}
	}
}

// tick is the unit of CPU times in /proc/PID/stat, nanoseconds: USER_HZ is 100 wherever Linux fixes it.
const tick = 10_000_000

// readProcess reads what a process has used. It is false when the process is gone.
func (m *Meter) readProcess(pid uint32, r *reading) bool {
	data, err := m.file(pid, "stat")
	if err != nil || !parseStat(data, m.page, r) {
		return false
	}
	r.time = uint64(time.Now().UnixNano()) //nolint:gosec // after 1970
	if data, err = m.file(pid, "io"); err == nil {
		r.disk, r.hasDisk = parseIO(data)
	}
	if !r.settled {
		r.settled = true
		if data, err = m.file(pid, "status"); err == nil {
			r.userID = parseUser(data)
		}
		r.namespace, _ = os.Readlink(m.root + "/" + strconv.FormatUint(uint64(pid), 10) + "/ns/net")
	}
	return true
}

// readNetwork reads the figures of the network namespace of a process.
func (m *Meter) readNetwork(pid uint32) (transfer, bool) {
	data, err := m.file(pid, "net/dev")
	if err != nil || len(data) == maxFile {
		return transfer{}, false
	}
	return parseNetwork(data), true
}

// file returns the beginning of a file of a process, until the next call.
func (m *Meter) file(pid uint32, name string) ([]byte, error) {
	m.path = append(append(append(strconv.AppendUint(append(append(m.path[:0], m.root...), '/'), uint64(pid), 10), '/'), name...), 0)
	fd, err := unix.Open(string(m.path[:len(m.path)-1]), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n := 0
	for n < len(m.buf) {
		k, err := unix.Read(fd, m.buf[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if k == 0 {
			break
		}
		n += k
	}
	if n == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return m.buf[:n], nil
}

// parseStat reads "PID (command) state ...": the command may hold anything, parentheses and spaces too.
func parseStat(data []byte, page uint64, r *reading) bool {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return false
	}
	const user, system, start, virtual, resident = 11, 12, 19, 20, 21 // after the command: fields 14, 15 and 22 to 24 of proc_pid_stat(5)
	var fields [resident + 1]uint64
	n := 0
	for field := range bytes.FieldsSeq(data[end+1:]) {
		if n > resident {
			break
		}
		fields[n] = number(field)
		n++
	}
	r.started = fields[start]
	r.user, r.system, r.virtual, r.memory = fields[user]*tick, fields[system]*tick, fields[virtual], fields[resident]*page
	return n > resident
}

// parseIO reads what went to and came from storage.
func parseIO(data []byte) (t transfer, ok bool) {
	for line := range bytes.Lines(data) {
		name, value, _ := bytes.Cut(line, []byte{':'})
		switch string(name) {
		case "read_bytes":
			t.read, ok = number(bytes.TrimSpace(value)), true
		case "write_bytes":
			t.written, ok = number(bytes.TrimSpace(value)), true
		}
	}
	return t, ok
}

// parseUser finds the effective user id in a status file.
func parseUser(data []byte) uint32 {
	_, rest, _ := bytes.Cut(data, []byte("\nUid:"))
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	if ids := bytes.Fields(line); len(ids) > 1 {
		return uint32(number(ids[1])) //nolint:gosec // the kernel's are of 32 bits
	}
	return 0
}

// parseNetwork adds up the interfaces of a namespace but loopback.
func parseNetwork(data []byte) (t transfer) {
	const received, sent = 0, 8
	for line := range bytes.Lines(data) {
		name, rest, ok := bytes.Cut(line, []byte{':'})
		if !ok || string(bytes.TrimSpace(name)) == "lo" {
			continue
		}
		i := 0
		for field := range bytes.FieldsSeq(rest) {
			switch i {
			case received:
				t.read += number(field)
			case sent:
				t.written += number(field)
			}
			i++
		}
	}
	return t
}

// number reads digits; zero for anything else, such as what is negative.
func number(b []byte) (n uint64) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0
		}
		n = 10*n + uint64(c-'0')
	}
	return n
}

// processors is how many processors are online; zero if that cannot be read.
func processors() uint32 {
	data, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return 0
	}
	return parseRange(strings.TrimSpace(string(data)))
}

// parseRange counts the members of a list such as "0-3,8".
func parseRange(list string) (n uint32) {
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, errFrom := strconv.ParseUint(first, 10, 16)
		to, errTo := strconv.ParseUint(last, 10, 16)
		if errFrom != nil || errTo != nil || to < from {
			return 0
		}
		n += uint32(to-from) + 1
	}
	return n
}
