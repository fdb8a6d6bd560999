// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// machine is a procfs that a test writes.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T) machine {
	t.Helper()
	m := machine{t, t.TempDir()}
	m.namespace(1, "net:[1]")
	return m
}

func (m machine) write(pid int, name, text string) {
	m.t.Helper()
	path := filepath.Join(m.root, strconv.Itoa(pid), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) namespace(pid int, name string) {
	m.t.Helper()
	path := filepath.Join(m.root, strconv.Itoa(pid), "ns/net")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink(name, path); err != nil {
		m.t.Fatal(err)
	}
}

// used sets what a process has used: ticks of CPU, and pages of memory.
func (m machine) used(pid, start, user, system, pages int) {
	m.t.Helper()
	m.write(pid, "stat", fmt.Sprintf("%d (a) b) (c) S 1 1 1 0 -1 4194304 100 0 0 0 %d %d 0 0 20 0 3 0 %d 1048576 %d 18446744073709551615 1\n", pid, user, system, start, pages))
	m.write(pid, "status", "Name:\ta\nUid:\t1\t1000\t2\t3\nGid:\t0\n")
}

func (m machine) disk(pid, read, written int) {
	m.t.Helper()
	m.write(pid, "io", fmt.Sprintf("rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: %d\nwrite_bytes: %d\ncancelled_write_bytes: 9\n", read, written))
}

func (m machine) net(pid, received, sent int) {
	m.t.Helper()
	m.write(pid, "net/dev", fmt.Sprintf("Inter-|   Receive |  Transmit\n face |bytes packets\n    lo: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0\n  eth0:%d 1 0 0 0 0 0 0 %d 1 0 0 0 0 0 0\n", received, sent))
}

// read measures and returns the samples, less what depends on the machine.
func read(m *Meter, processes ...*eventv1.Process) map[uint32]*eventv1.ProcessSample {
	out := map[uint32]*eventv1.ProcessSample{}
	samples, _ := m.Read(processes)
	for _, s := range samples {
		out[s.GetProcess().GetPid()] = s
		s.Process, s.Processors, s.MemoryBytes = nil, 0, s.GetMemoryBytes()/m.page
		s.StartUnixNano, s.TimeUnixNano = 0, 0
	}
	return out
}

func compare(t *testing.T, what string, want, got map[uint32]*eventv1.ProcessSample) {
	t.Helper()
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	host := newMachine(t)
	m := New(host.root)
	old := &eventv1.Process{Pid: 7, StartUnixNano: 5}
	young := &eventv1.Process{Pid: 8, StartUnixNano: m.began + 1}
	host.used(7, 5, 100, 50, 3)
	host.disk(7, 4096, 0)
	host.used(8, 6, 2, 1, 4) // its I/O may not be known
	const tenMillis = 10_000_000
	compare(t, "first pass", map[uint32]*eventv1.ProcessSample{
		8: {UserNano: 2 * tenMillis, SystemNano: tenMillis, MemoryBytes: 4, VirtualBytes: 1 << 20, UserId: 1000},
	}, read(m, old, young))

	host.used(7, 5, 103, 49, 5)
	host.disk(7, 4096, 512)
	host.used(8, 9, 70, 70, 4) // the id has gone to another process
	compare(t, "second pass", map[uint32]*eventv1.ProcessSample{
		7: {UserNano: 3 * tenMillis, MemoryBytes: 5, VirtualBytes: 1 << 20, UserId: 1000, Disk: &eventv1.Transfer{WrittenBytes: 512}},
	}, read(m, old, young))

	if err := os.RemoveAll(filepath.Join(host.root, "7")); err != nil {
		t.Fatal(err)
	}
	compare(t, "third pass", map[uint32]*eventv1.ProcessSample{}, read(m, old))
	if len(m.known) != 0 {
		t.Errorf("%d processes are remembered that are gone", len(m.known))
	}
}

// TestIntervalsFollowOneAnother: what is used is in one interval and no other.
func TestIntervalsFollowOneAnother(t *testing.T) {
	t.Parallel()
	host := newMachine(t)
	m := New(host.root)
	p := &eventv1.Process{Pid: 8, StartUnixNano: m.began + 1}
	end := p.GetStartUnixNano()
	for range 3 {
		host.used(8, 6, 2, 1, 4)
		samples, _ := m.Read([]*eventv1.Process{p})
		if s := samples[0]; s.GetStartUnixNano() != end || s.GetTimeUnixNano() <= end {
			t.Fatalf("interval from %d to %d after one that ended at %d", s.GetStartUnixNano(), s.GetTimeUnixNano(), end)
		}
		end = samples[0].GetTimeUnixNano()
	}
}

// TestNetworkCountsOnce: a namespace with several processes, and the machine's own.
func TestNetworkCountsOnce(t *testing.T) {
	t.Parallel()
	host := newMachine(t)
	m := New(host.root)
	var all []*eventv1.Process
	for pid, namespace := range map[int]string{10: "net:[2]", 11: "net:[2]", 12: "net:[3]", 13: "net:[1]"} {
		host.used(pid, pid, 1, 1, 1)
		host.namespace(pid, namespace)
		host.net(pid, 1000, 100)
		all = append(all, &eventv1.Process{Pid: uint32(pid), StartUnixNano: uint64(pid)})
	}
	network := func() map[uint32]string {
		got := map[uint32]string{}
		for pid, s := range read(m, all...) {
			if n := s.GetNetwork(); n != nil {
				got[pid] = fmt.Sprint(n.GetReadBytes(), " ", n.GetWrittenBytes())
			}
		}
		return got
	}
	if got := network(); len(got) > 0 {
		t.Errorf("the first reading says %v", got)
	}
	for pid := range 4 {
		host.net(10+pid, 1500, 160)
	}
	if d := cmp.Diff(map[uint32]string{10: "500 60", 12: "500 60"}, network()); d != "" {
		t.Errorf("second reading (-want +got):\n%s", d)
	}
	if err := os.RemoveAll(filepath.Join(host.root, "10")); err != nil { // the next oldest goes on
		t.Fatal(err)
	}
	host.net(11, 1700, 160)
	if d := cmp.Diff(map[uint32]string{11: "200 0", 12: "0 0"}, network()); d != "" {
		t.Errorf("third reading (-want +got):\n%s", d)
	}
}

func TestMeterIsBounded(t *testing.T) {
	t.Parallel()
	host := newMachine(t)
	m := New(host.root)
	var all []*eventv1.Process
	for pid := range MaxProcesses + 3 {
		host.used(pid+100, 1, 1, 1, 1)
		all = append(all, &eventv1.Process{Pid: uint32(pid + 100), StartUnixNano: m.began})
	}
	for range 2 {
		samples, left := m.Read(all)
		if len(samples) != MaxProcesses || left != 3 {
			t.Errorf("%d samples, %d left out", len(samples), left)
		}
	}
}

// TestMeterTellsTheTruth holds the figures against what the kernel tells this very process. No other test runs meanwhile.
func TestMeterTellsTheTruth(t *testing.T) { //nolint:paralleltest // it counts what the process uses
	m := New("/proc")
	self := &eventv1.Process{Pid: uint32(os.Getpid()), StartUnixNano: 1}
	if samples, _ := m.Read([]*eventv1.Process{self}); len(samples) > 0 {
		t.Fatal("there is a sample of an old process at the first reading")
	}
	before := rusage(t)
	burn(t, 300_000_000)
	after := rusage(t)
	samples, _ := m.Read([]*eventv1.Process{self})
	if len(samples) != 1 {
		t.Fatalf("%d samples of this process", len(samples))
	}
	s := samples[0]
	spent := after - before
	if got := s.GetUserNano() + s.GetSystemNano(); got+4*tick < spent || got > spent+spent/4+4*tick {
		t.Errorf("%d ns of CPU time, want about %d", got, spent)
	}
	if s.GetMemoryBytes() < 1<<20 || s.GetVirtualBytes() < s.GetMemoryBytes() || s.GetUserId() != uint32(os.Geteuid()) || s.GetProcessors() == 0 {
		t.Errorf("sample %v", s)
	}
}

func TestParseRange(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]uint32{"0": 1, "0-3": 4, "0-3,8,10-11": 7, "": 0, "3-1": 0, "x": 0} {
		if got := parseRange(list); got != want {
			t.Errorf("parseRange(%q) = %d, want %d", list, got, want)
		}
	}
}

// FuzzParse: whatever a file says, it is read without a panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte("1 (a) S 1 1 1 0 -1 4194304 100 0 0 0 5 5 0 0 20 0 3 0 6 1048576 3 18446744073709551615 1\n"))
	f.Add([]byte("  eth0:12 1 0 0 0 0 0 0 34 1\n"))
	f.Add([]byte("read_bytes: 5\nUid:\t1\t2\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		var r reading
		parseStat(data, 4096, &r)
		parseIO(data)
		parseUser(data)
		parseNetwork(data)
		parseRange(string(data))
	})
}

// BenchmarkRead measures fifty processes that run here, or as many as there are.
func BenchmarkRead(b *testing.B) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	processes := map[uint32]*eventv1.Process{}
	for _, dir := range dirs[:min(len(dirs), 50)] {
		if pid, err := strconv.ParseUint(filepath.Base(dir), 10, 32); err == nil {
			processes[uint32(pid)] = &eventv1.Process{Pid: uint32(pid), StartUnixNano: 1}
		}
	}
	var list []*eventv1.Process
	for p := range maps.Values(processes) {
		list = append(list, p)
	}
	m := New("/proc")
	b.ReportAllocs()
	for b.Loop() {
		m.Read(list)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(list)), "µs/process")
}
