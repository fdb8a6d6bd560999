// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/sdk"
)

// Config says how a Table works; see Default.
type Config struct {
	Root   string        // where the procfs of the initial pid namespace is mounted, normally /proc
	Node   string        // host name of the node
	Limit  int           // processes held at most; of more, the kernel's records are all that is known
	Linger time.Duration // how long a process is remembered after its exit
	// Containers knows what containers are called, or nil until it has found out; nil: nobody knows. It must not wait.
	Containers func(id, cgroup string) *eventv1.Container
}

// Default suits a node: Linux allows 32768 processes unless told otherwise, and records trail an exit by far less than a minute.
func Default(node string) Config {
	return Config{Root: "/proc", Node: node, Limit: 32768, Linger: 30 * time.Second}
}

// Table holds the processes of a node. It belongs to one goroutine.
type Table struct {
	cfg       Config
	boot      uint64 // Unix nanoseconds
	uts       string // the probe's own UTS namespace, "uts:[INODE]"; empty if unknown
	byPID     map[uint32]*Process
	languages languages
	now       func() time.Time
}

// New returns an empty table; Scan fills it.
func New(cfg Config) (*Table, error) {
	boot, err := bootTime(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("read boot time: %w", err)
	}
	uts, _ := os.Readlink(filepath.Join(cfg.Root, "self/ns/uts"))
	return &Table{cfg: cfg, boot: boot, uts: uts, byPID: map[uint32]*Process{}, languages: languages{}, now: time.Now}, nil
}

// Len returns the number of processes held, those that ended a short while ago included.
func (t *Table) Len() int { return len(t.byPID) }

// All calls yield with each process that lives, as far as the kernel has told.
func (t *Table) All(yield func(*Process) bool) {
	for _, p := range t.byPID {
		if !p.Ended() && !yield(p) {
			return
		}
	}
}

// Scan takes in every process that runs now, kernel threads excepted. It follows the attachment of the kernel's hooks: what
// starts later is in their records, and what is in both is read twice.
func (t *Table) Scan() error {
	dir, err := os.Open(t.cfg.Root)
	if err != nil {
		return fmt.Errorf("scan processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("scan processes: %w", err)
	}
	for _, name := range names {
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			continue
		}
		if info, err := t.read(uint32(pid), nil); err == nil && info.GetExecutable() != "" {
			t.put(info)
		}
	}
	return nil
}

// Get returns the process, or nil.
func (t *Table) Get(pid uint32) *Process { return t.byPID[pid] }

// Find returns the process, reading /proc for one that is not held. Of a process that is not there either nothing is known but
// its id.
func (t *Table) Find(pid uint32) *Process {
	if p := t.byPID[pid]; p != nil {
		return p
	}
	info, err := t.read(pid, nil)
	if err != nil {
		info = &eventv1.Process{Pid: pid}
	}
	p := t.put(info)
	if err != nil {
		p.ended = t.now()
	}
	return p
}

// Exec replaces what is known about a process by the program it now runs.
func (t *Table) Exec(e Exec) *Process {
	info, err := t.read(e.PID, &e)
	if err != nil {
		info = t.fromRecord(e)
	}
	p := t.put(info)
	if err != nil {
		p.ended = t.now()
	}
	return p
}

// Fork takes in a process that runs its parent's program, and knows what the parent knows. Whether it exports telemetry as its
// parent does is another matter: threads of the parent do not run in the child.
func (t *Table) Fork(f Fork) *Process {
	parent := t.byPID[f.Parent]
	if parent == nil {
		return t.Find(f.PID)
	}
	info := clone(parent.Info)
	info.Pid, info.ParentPid, info.StartUnixNano = f.PID, f.Parent, t.startUnix(f.StartNanos)
	info.ExportsTraces, info.ExportsMetrics, info.Yield = false, false, eventv1.Yield_YIELD_UNSPECIFIED
	p := t.put(info)
	p.settled, p.SDK = parent.settled, parent.SDK
	return p
}

// Exit notes that a process has ended. It stays for Config.Linger, because records of its exchanges may follow.
func (t *Table) Exit(pid uint32) *Process {
	p := t.byPID[pid]
	if p != nil && !p.Ended() {
		p.ended = t.now()
	}
	return p
}

// Settle looks a second time at a process that has just shown its first traffic. By then it has loaded its runtime, taken its
// final name, been moved to its cgroup and named its host, none of which is so at exec.
func (t *Table) Settle(p *Process) {
	if p.settled {
		return
	}
	p.settled = true
	dir := t.dir(p.PID())
	s, err := readStat(dir)
	if err != nil || t.startUnix(s.bootNanos) != p.Info.GetStartUnixNano() {
		return
	}
	info := clone(p.Info)
	info.Command = s.command
	if lang := info.GetLanguage(); lang == eventv1.Language_LANGUAGE_CPP || lang == eventv1.Language_LANGUAGE_UNSPECIFIED {
		if embedded := byMaps(dir); embedded != eventv1.Language_LANGUAGE_UNSPECIFIED {
			info.Language = embedded
		}
	}
	t.place(info, dir)
	if data, err := readBounded(dir+"/environ", maxEnviron); err == nil {
		p.SDK = sdk.Parse(data)
	}
	info.HostName = t.hostName(dir, info.GetHostName())
	p.Info = info
}

// Sweep forgets processes that ended more than Config.Linger ago. It notices as well those whose end no record told, because
// the kernel's ring was full: they have no directory any more.
func (t *Table) Sweep(gone func(*Process)) {
	now := t.now()
	for pid, p := range t.byPID {
		if !p.Ended() {
			if _, err := os.Lstat(t.dir(pid)); errors.Is(err, os.ErrNotExist) {
				p.ended = now
				gone(p)
			}
			continue
		}
		if now.Sub(p.ended) > t.cfg.Linger {
			delete(t.byPID, pid)
		}
	}
}

// Verify compares every process with what /proc says now, after records of their lives were lost. It replaces those that are
// others under an old id, or run another program, and hands them to changed.
func (t *Table) Verify(changed func(*Process)) {
	for pid, p := range t.byPID {
		if p.Ended() {
			continue
		}
		s, err := readStat(t.dir(pid))
		if err != nil {
			continue // Sweep notices
		}
		executable, err := readExecutable(t.dir(pid))
		if err != nil || t.startUnix(s.bootNanos) == p.Info.GetStartUnixNano() && executable == p.Info.GetExecutable() {
			continue
		}
		if info, err := t.read(pid, nil); err == nil {
			changed(t.put(info))
		}
	}
}

// put makes info the knowledge about its process. When the table is full the process is known to the caller alone.
func (t *Table) put(info *eventv1.Process) *Process {
	p := &Process{Info: info}
	if _, ok := t.byPID[info.GetPid()]; ok || len(t.byPID) < t.cfg.Limit {
		t.byPID[info.GetPid()] = p
	}
	return p
}

func (t *Table) dir(pid uint32) string {
	return filepath.Join(t.cfg.Root, strconv.FormatUint(uint64(pid), 10))
}

// read learns about a process from its directory. With an exec record it makes sure that the id has not gone to another
// process since, and takes the environment from the record if that has all of it.
func (t *Table) read(pid uint32, e *Exec) (*eventv1.Process, error) {
	dir := t.dir(pid)
	s, err := readStat(dir)
	if err != nil {
		return nil, err
	}
	if e != nil && s.bootNanos > e.BootNanos {
		return nil, errors.New("the process id has a new owner")
	}
	executable, err := readExecutable(dir)
	if err != nil && (e != nil || !errors.Is(err, os.ErrNotExist)) { // a kernel thread has none, nor has what just ended
		return nil, err
	}
	info := &eventv1.Process{
		Pid: pid, ParentPid: s.parent, StartUnixNano: t.startUnix(s.bootNanos), Command: s.command, Executable: executable,
		Language: t.languages.of(dir+"/exe", executable),
	}
	t.place(info, dir)
	env := t.environment(dir, e)
	info.OtelServiceName, info.OtelResourceAttributes = env.serviceName, env.resourceAttributes
	info.HostName = t.hostName(dir, env.hostName)
	return info, nil
}

// place finds out in which container a process is.
func (t *Table) place(info *eventv1.Process, dir string) {
	data, err := readBounded(dir+"/cgroup", maxSmallFile)
	if err != nil {
		return
	}
	info.ContainerId, info.Cgroup = parseCgroup(data)
	info.Container = nil
	if info.GetContainerId() != "" && t.cfg.Containers != nil {
		info.Container = t.cfg.Containers(info.GetContainerId(), info.GetCgroup())
	}
}

// Contain notes what the container of a process is called.
func (t *Table) Contain(p *Process, c *eventv1.Container) {
	info := clone(p.Info)
	info.Container = c
	p.Info = info
}

func (t *Table) environment(dir string, e *Exec) environment {
	if e != nil && len(e.Environment) > 0 && !e.EnvCut {
		return parseEnviron(e.Environment, false)
	}
	data, err := readBounded(dir+"/environ", maxEnviron)
	if err == nil && len(data) > 0 {
		return parseEnviron(data, len(data) == maxEnviron)
	}
	if e != nil {
		return parseEnviron(e.Environment, e.EnvCut)
	}
	return environment{}
}

// fromRecord makes do with the exec record of a process that is already gone. Its container and host are its parent's: a process
// that enters a container of its own is that container's first one, and lives longer.
func (t *Table) fromRecord(e Exec) *eventv1.Process {
	env := parseEnviron(e.Environment, e.EnvCut)
	executable := clean(e.Filename)
	if !path.IsAbs(executable) {
		executable = ""
	}
	info := &eventv1.Process{
		Pid: e.PID, ParentPid: e.Parent, StartUnixNano: t.startUnix(e.StartNanos), Command: clean(e.Command), Executable: executable,
		Language: byName(clean(e.Filename)), OtelServiceName: env.serviceName, OtelResourceAttributes: env.resourceAttributes,
	}
	if parent := t.byPID[e.Parent]; parent != nil {
		info.ContainerId, info.Cgroup = parent.Info.GetContainerId(), parent.Info.GetCgroup()
		info.HostName, info.Container = parent.Info.GetHostName(), parent.Info.GetContainer()
	}
	return info
}

func clone(info *eventv1.Process) *eventv1.Process { return proto.CloneOf(info) }
