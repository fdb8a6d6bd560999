// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

const (
	idA = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	idB = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
)

func TestParseCgroup(t *testing.T) {
	t.Parallel()
	type result struct{ ID, Path string }
	cases := map[string]struct {
		data string
		want result
	}{
		"host, v2":   {"0::/system.slice/nginx.service\n", result{"", "/system.slice/nginx.service"}},
		"host, root": {"0::/\n", result{"", "/"}},
		"host, hybrid": {
			"9:name=systemd:/user.slice\n4:memory:/mine\n0::/\n", result{"", "/user.slice"},
		},
		"docker, v1":                 {"12:cpu,cpuacct:/docker/" + idA + "\n0::/\n", result{idA, "/docker/" + idA}},
		"docker, v2":                 {"0::/system.slice/docker-" + idA + ".scope\n", result{idA, "/system.slice/docker-" + idA + ".scope"}},
		"docker, seen from a sister": {"0::/../docker-" + idA + ".scope\n", result{idA, "/../docker-" + idA + ".scope"}},
		"docker in docker":           {"0::/docker/" + idA + "/docker/" + idB + "\n", result{idB, "/docker/" + idA + "/docker/" + idB}},
		"kubernetes, cgroupfs": {
			"4:memory:/kubepods/burstable/pod1b2c/" + idA + "\n", result{idA, "/kubepods/burstable/pod1b2c/" + idA},
		},
		"kubernetes, containerd": {
			"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1b2c.slice/cri-containerd-" + idA + ".scope\n",
			result{idA, "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1b2c.slice/cri-containerd-" + idA + ".scope"},
		},
		"kubernetes, containerd by name": {
			"1:name=systemd:/system.slice/containerd.service/kubepods-pod1b2c.slice:cri-containerd:" + idA + "\n",
			result{idA, "/system.slice/containerd.service/kubepods-pod1b2c.slice:cri-containerd:" + idA},
		},
		"kubernetes, cri-o": {"0::/kubepods.slice/crio-" + idA + ".scope\n", result{idA, "/kubepods.slice/crio-" + idA + ".scope"}},
		"monitor of cri-o":  {"0::/kubepods.slice/crio-conmon-" + idA + ".scope\n", result{"", "/kubepods.slice/crio-conmon-" + idA + ".scope"}},
		"podman":            {"0::/machine.slice/libpod-" + idA + ".scope/container\n", result{idA, "/machine.slice/libpod-" + idA + ".scope/container"}},
		"monitor of podman": {"0::/machine.slice/libpod-conmon-" + idA + ".scope\n", result{"", "/machine.slice/libpod-conmon-" + idA + ".scope"}},
		"ecs":               {"2:cpu:/ecs/f00/" + idA + "\n", result{idA, "/ecs/f00/" + idA}},
		"65 digits":         {"0::/docker/0" + idA + "\n", result{"", "/docker/0" + idA}},
		"capitals":          {"0::/docker/" + strings.ToUpper(idA) + "\n", result{"", "/docker/" + strings.ToUpper(idA)}},
		"colon in path":     {"0::/a:b\n", result{"", "/a:b"}},
		"garbage":           {"\n::\nx\n", result{"", ""}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, path := parseCgroup([]byte(c.data))
			if d := cmp.Diff(c.want, result{id, path}); d != "" {
				t.Errorf("parseCgroup(%q) (-want +got):\n%s", c.data, d)
			}
		})
	}
}

func TestParseEnviron(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		data string
		cut  bool
		want environment
	}{
		"all": {
			"A=1\x00OTEL_SERVICE_NAME=shop\x00OTEL_RESOURCE_ATTRIBUTES=a=b,c=d\x00HOSTNAME=pod-1\x00", false,
			environment{"shop", "a=b,c=d", "pod-1"},
		},
		"first counts":    {"OTEL_SERVICE_NAME=a\x00OTEL_SERVICE_NAME=b\x00", false, environment{serviceName: "a"}},
		"no end":          {"OTEL_SERVICE_NAME=shop", false, environment{serviceName: "shop"}},
		"cut":             {"HOSTNAME=h\x00OTEL_SERVICE_NAME=sho", true, environment{hostName: "h"}},
		"overwritten":     {"nginx: master process\x00\x00\x00\x00", false, environment{}},
		"bytes, not text": {"OTEL_SERVICE_NAME=\xff\x00", false, environment{serviceName: "\uFFFD"}},
		"oversized":       {"OTEL_SERVICE_NAME=" + strings.Repeat("x", maxEnvValue+1) + "\x00", false, environment{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := parseEnviron([]byte(c.data), c.cut); got != c.want {
				t.Errorf("parseEnviron(%q) = %+v, want %+v", c.data, got, c.want)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	tail := " S 7 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 8192 0"
	got, err := parseStat([]byte("42 (a) (b c))" + tail))
	if want := (stat{command: "a) (b c)", parent: 7, bootNanos: 123_450_000_000}); err != nil || got != want {
		t.Errorf("parseStat = %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "42 a S 7", "42 (a) S 7", ")(", "42 (a) S x" + strings.Repeat(" 1", 30)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", bad, got)
		}
	}
}

// FuzzParse holds that no content of a process's files makes the parsers fail, and that what they return is valid UTF-8.
func FuzzParse(f *testing.F) {
	f.Add([]byte("0::/docker/" + idA + "\n"))
	f.Add([]byte("42 (a) S 7 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 8192"))
	f.Add([]byte("OTEL_SERVICE_NAME=x\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, path := parseCgroup(data)
		s, _ := parseStat(data)
		e := parseEnviron(data, true)
		for _, text := range []string{id, path, s.command, e.serviceName, e.resourceAttributes, e.hostName} {
			if strings.ToValidUTF8(text, "") != text {
				t.Fatalf("%q gives %q", data, text)
			}
		}
		if id != "" && len(id) != containerIDLen {
			t.Fatalf("%q gives container %q", data, id)
		}
	})
}

// fakeProc writes a process directory of a made-up procfs.
func fakeProc(t *testing.T, root string, pid uint32, files map[string]string) {
	t.Helper()
	dir := filepath.Join(root, strconv.Itoa(int(pid)))
	if err := os.MkdirAll(filepath.Join(dir, "ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func statLine(pid, parent uint32, command string, ticks int) string {
	p := strconv.Itoa
	return p(int(pid)) + " (" + command + ") S " + p(int(parent)) + " 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 " + p(ticks) + " 8192 0\n"
}

// fakeTable returns an empty table over an empty procfs of a machine that booted at second 1000.
func fakeTable(t *testing.T) (table *Table, root string) {
	t.Helper()
	root = t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "stat"), []byte("cpu 1 2\nbtime 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Default("node")
	cfg.Root = root
	table, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return table, root
}

func TestTableFollowsAProcess(t *testing.T) {
	t.Parallel()
	table, root := fakeTable(t)
	now := time.Unix(5000, 0)
	table.now = func() time.Time { return now }
	fakeProc(t, root, 10, map[string]string{
		"stat": statLine(10, 1, "python3", 500), "exe": "-> /usr/bin/python3.12 (deleted)", "cgroup": "0::/docker/" + idA + "\n",
		"environ": "OTEL_SERVICE_NAME=shop\x00",
	})
	fakeProc(t, root, 2, map[string]string{"stat": statLine(2, 0, "kthreadd", 0), "cgroup": "0::/\n"})
	if err := table.Scan(); err != nil {
		t.Fatal(err)
	}
	parent := &eventv1.Process{
		Pid: 10, ParentPid: 1, StartUnixNano: 1005e9, Executable: "/usr/bin/python3.12", Command: "python3",
		Language: eventv1.Language_LANGUAGE_PYTHON, ContainerId: idA, Cgroup: "/docker/" + idA, OtelServiceName: "shop",
	}
	want(t, table, map[uint32]*eventv1.Process{10: parent})

	// A child that never execs takes after its parent, although /proc has nothing about it.
	table.Fork(Fork{PID: 11, Parent: 10, StartNanos: 6_004_000_000})
	child := clone(parent)
	child.Pid, child.ParentPid, child.StartUnixNano = 11, 10, 1006e9
	want(t, table, map[uint32]*eventv1.Process{10: parent, 11: child})

	// One that execs and is gone before anybody looked is what its record says.
	table.Exec(Exec{
		PID: 12, Parent: 10, StartNanos: 7e9, BootNanos: 7e9, Filename: []byte("/usr/bin/curl"), Command: []byte("curl"),
		Environment: []byte("OTEL_SERVICE_NAME=caller\x00"),
	})
	gone := &eventv1.Process{
		Pid: 12, ParentPid: 10, StartUnixNano: 1007e9, Executable: "/usr/bin/curl", Command: "curl",
		OtelServiceName: "caller", ContainerId: idA, Cgroup: "/docker/" + idA,
	}
	if d := cmp.Diff(gone, table.Get(12).Info, protocmp.Transform()); d != "" {
		t.Errorf("process that is gone (-want +got):\n%s", d)
	}

	// Ended ones stay for a while.
	table.Exit(11)
	now = now.Add(table.cfg.Linger)
	table.Sweep(func(*Process) {})
	if table.Get(11) == nil || table.Get(12) == nil {
		t.Error("ended processes were forgotten at once")
	}
	now = now.Add(1)
	table.Sweep(func(*Process) {})
	want(t, table, map[uint32]*eventv1.Process{10: parent})
	if table.Len() != 1 {
		t.Errorf("%d processes are held, want 1", table.Len())
	}

	// One whose end no record told is noticed.
	if err := os.RemoveAll(filepath.Join(root, "10")); err != nil {
		t.Fatal(err)
	}
	var ended []uint32
	table.Sweep(func(p *Process) { ended = append(ended, p.PID()) })
	if !slices.Equal(ended, []uint32{10}) {
		t.Errorf("ended = %v, want [10]", ended)
	}
}

func want(t *testing.T, table *Table, processes map[uint32]*eventv1.Process) {
	t.Helper()
	got := map[uint32]*eventv1.Process{}
	for p := range table.All {
		got[p.PID()] = p.Info
	}
	if d := cmp.Diff(processes, got, protocmp.Transform()); d != "" {
		t.Errorf("processes (-want +got):\n%s", d)
	}
}

func TestExecSeesThatAPidHasANewOwner(t *testing.T) {
	t.Parallel()
	table, root := fakeTable(t)
	fakeProc(t, root, 10, map[string]string{"stat": statLine(10, 1, "new", 900), "exe": "-> /bin/new"})
	p := table.Exec(Exec{PID: 10, StartNanos: 5e9, BootNanos: 6e9, Filename: []byte("/bin/old"), Command: []byte("old")})
	if got := p.Info.GetExecutable(); got != "/bin/old" || !p.Ended() {
		t.Errorf("executable %q, ended %t, want /bin/old and ended", got, p.Ended())
	}
}

// TestExecOfAZombie: what has ended and is not waited for yet has a directory, but no executable.
func TestExecOfAZombie(t *testing.T) {
	t.Parallel()
	table, root := fakeTable(t)
	fakeProc(t, root, 10, map[string]string{"stat": statLine(10, 1, "curl", 500)})
	p := table.Exec(Exec{PID: 10, StartNanos: 5e9, BootNanos: 6e9, Filename: []byte("/bin/curl"), Command: []byte("curl")})
	if got := p.Info.GetExecutable(); got != "/bin/curl" || !p.Ended() {
		t.Errorf("executable %q, ended %t, want /bin/curl and ended", got, p.Ended())
	}
}

func TestTableIsBounded(t *testing.T) {
	t.Parallel()
	table, _ := fakeTable(t)
	table.cfg.Limit = 2
	for pid := range uint32(5) {
		if p := table.Find(pid); p.PID() != pid {
			t.Fatalf("process %d is %v", pid, p.Info)
		}
	}
	if table.Len() != 2 {
		t.Errorf("%d processes are held, want 2", table.Len())
	}
}

// TestRealProcesses reads live processes of every runtime that this machine has.
func TestRealProcesses(t *testing.T) {
	t.Parallel()
	table, err := New(Default("some-node"))
	if err != nil {
		t.Fatal(err)
	}
	self := table.Find(uint32(os.Getpid()))
	if got := self.Info.GetLanguage(); got != eventv1.Language_LANGUAGE_GO {
		t.Errorf("this test is %v, want Go", got)
	}
	if at := time.Unix(0, int64(self.Info.GetStartUnixNano())); time.Since(at) > time.Hour || time.Until(at) > 0 {
		t.Errorf("this test started at %v", at)
	}
	programs := map[string]struct {
		argv []string
		want eventv1.Language
	}{
		"python": {[]string{"python3", "-c", "import sys; sys.stdin.read()"}, eventv1.Language_LANGUAGE_PYTHON},
		"node":   {[]string{"node", "-e", "process.stdin.resume()"}, eventv1.Language_LANGUAGE_NODEJS},
		"java":   {[]string{"java", "-version"}, eventv1.Language_LANGUAGE_JAVA},
		"bash":   {[]string{"bash", "-c", "read line"}, eventv1.Language_LANGUAGE_CPP},
		"nginx":  {[]string{"nginx", "-h"}, eventv1.Language_LANGUAGE_CPP},
		"cargo":  {[]string{"cargo"}, eventv1.Language_LANGUAGE_RUST},
	}
	for name, c := range programs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(c.argv[0])
			if err != nil {
				t.Skipf("%s is not installed", c.argv[0])
			}
			if path, err = realProgram(path); err != nil {
				t.Skip(err)
			}
			var cache languages = map[fileID]eventv1.Language{}
			if got := cache.of(path, path); got != c.want {
				t.Errorf("%s is %v, want %v", path, got, c.want)
			}
		})
	}
	t.Run("alive", func(t *testing.T) {
		t.Parallel()
		own, err := New(Default("some-node"))
		if err != nil {
			t.Fatal(err)
		}
		aliveProcess(t, own)
	})
}

// realProgram follows links; a shell script, which version managers put in front of programs, is not the program.
func realProgram(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	data, err := readBounded(path, 2)
	if err != nil || !bytes.Equal(data, []byte("#!")) {
		return path, err
	}
	return "", &os.PathError{Op: "use", Path: path, Err: os.ErrInvalid}
}

// spawn starts a program that prints "up" and then waits for its input to end.
func spawn(t *testing.T, env []string, argv ...string) (pid uint32) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "OTEL_") }), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
		cancel()
	})
	if _, err := io.ReadFull(out, make([]byte, len("up\n"))); err != nil {
		t.Skip(err)
	}
	return uint32(cmd.Process.Pid)
}

func aliveProcess(t *testing.T, table *Table) {
	t.Helper()
	pid := spawn(t, []string{"OTEL_SERVICE_NAME=shop", "OTEL_RESOURCE_ATTRIBUTES=team=a"}, "bash", "-c", "echo up; read line; true")
	p := table.Find(pid)
	before := p.Info
	table.Settle(p)
	got := &eventv1.Process{
		Command: p.Info.GetCommand(), OtelServiceName: p.Info.GetOtelServiceName(), OtelResourceAttributes: p.Info.GetOtelResourceAttributes(),
		Language: p.Info.GetLanguage(), HostName: p.Info.GetHostName(), Executable: filepath.Base(p.Info.GetExecutable()),
		ParentPid: p.Info.GetParentPid(), StartUnixNano: p.Info.GetStartUnixNano(),
	}
	wantFields := &eventv1.Process{
		Command: "bash", OtelServiceName: "shop", OtelResourceAttributes: "team=a", Language: eventv1.Language_LANGUAGE_CPP,
		Executable: "bash", ParentPid: uint32(os.Getpid()), StartUnixNano: before.GetStartUnixNano(),
	}
	if d := cmp.Diff(wantFields, got, protocmp.Transform()); d != "" {
		t.Errorf("process (-want +got):\n%s", d)
	}
}

// TestHostName looks into another UTS namespace, and makes sure that the probe's own one is left as it was.
func TestHostName(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("making a namespace needs root")
	}
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	table, err := New(Default("some-node"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"shop-1": "shop-1", "some-node": ""} // a name that is the node's says nothing
	for name, want := range names {
		pid := spawn(t, nil, "unshare", "--uts", "sh", "-c", "hostname "+name+"; echo up; read line; true")
		if got := table.Find(pid).Info.GetHostName(); got != want {
			t.Errorf("host name %q in a namespace called %q, want %q", got, name, want)
		}
	}
	if after, err := os.Hostname(); err != nil || after != before {
		t.Errorf("this process's host name was %q and is %q, %v", before, after, err)
	}
}

// BenchmarkExec is the price of one exec on the node.
func BenchmarkExec(b *testing.B) {
	table, err := New(Default("some-node"))
	if err != nil {
		b.Fatal(err)
	}
	e := Exec{
		PID: uint32(os.Getpid()), BootNanos: 1 << 62, Filename: []byte("/bin/x"), Command: []byte("x"),
		Environment: []byte("A=1\x00B=2\x00OTEL_SERVICE_NAME=shop\x00"),
	}
	b.ReportAllocs()
	for b.Loop() {
		table.Exec(e)
	}
}

func TestLanguageByNames(t *testing.T) {
	t.Parallel()
	const (
		none   = eventv1.Language_LANGUAGE_UNSPECIFIED
		java   = eventv1.Language_LANGUAGE_JAVA
		node   = eventv1.Language_LANGUAGE_NODEJS
		python = eventv1.Language_LANGUAGE_PYTHON
		ruby   = eventv1.Language_LANGUAGE_RUBY
		dotnet = eventv1.Language_LANGUAGE_DOTNET
		php    = eventv1.Language_LANGUAGE_PHP
	)
	for name, want := range map[string]eventv1.Language{
		"/usr/lib/jvm/java-21/bin/java": java, "/usr/bin/node": node, "nodejs": node, "/usr/bin/python3.12": python, "pypy3": python,
		"ruby3.1": ruby, "/usr/share/dotnet/dotnet": dotnet, "/usr/sbin/php-fpm8.2": php, "php": php, "php-cgi8.2": php,
		"/usr/bin/pythonic": none, "": none, "/usr/bin/nodejs-exporter": none,
	} {
		if got := byName(name); got != want {
			t.Errorf("byName(%q) = %v, want %v", name, got, want)
		}
	}
	for file, want := range map[string]eventv1.Language{
		"libjvm.so": java, "libcoreclr.so": dotnet, "libnode.so.108": node, "libpython3.11.so.1.0": python, "libruby-3.1.so.3.1": ruby,
		"libphp8.2.so": php, "libphp.so": php, "libc.so.6": none, "libpythonic.so": none, "libjvm.txt": none,
	} {
		if got := byLibrary(file); got != want {
			t.Errorf("byLibrary(%q) = %v, want %v", file, got, want)
		}
	}
}
