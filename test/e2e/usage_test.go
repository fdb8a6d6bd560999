// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestProcessMetrics holds what the Prometheus page says about a process against what the kernel says: CPU time, memory, storage, and the
// network of the namespace that it has for itself.
func TestProcessMetrics(t *testing.T) {
	needRoot(t)
	s := allInOne(t, "--process-metrics", "1s")
	client, server := newPair(t)
	start(t, nil, "ip", "netns", "exec", server, "/usr/bin/python3", "testdata/burner.py", pairServer, "8080", filepath.Join(t.TempDir(), "file"))
	ask := func(path string) (pid string) {
		out, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", client, "curl", "-s", "-m", "60", "http://"+pairServer+":8080"+path).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	wait(t, 30*time.Second, "the server to listen", func() bool { return ask("/") != "" })
	p := usedProcess{t, ask("/")}
	used := func(name, label string) float64 { return s.sample(t, name, `process_pid="`+p.pid+`"`, label) }
	sent := func() float64 { return used("process_network_io_bytes_total", `network_io_direction="transmit"`) }
	wait(t, 60*time.Second, "the network to be read a first time", func() bool { ask("/"); return sent() > 0 })
	settle(t, func() int { return int(sent()) })
	cpu := func() float64 {
		return used("process_cpu_time_seconds_total", `cpu_mode="user"`) + used("process_cpu_time_seconds_total", `cpu_mode="system"`)
	}
	// What there was before the first reading is not counted: packets of the namespace, the start of the interpreter.
	sentBefore, reallySent, cpuBefore, reallyUsed := sent(), p.networkSent(), cpu(), p.cpu()
	ask("/burn")

	const ticks = 0.05 // seconds; user and system time are rounded each, at both ends
	least := p.cpu() - reallyUsed
	wait(t, 60*time.Second, "the CPU time to be on the page", func() bool { return cpu()-cpuBefore >= least-ticks })
	if got, most := cpu()-cpuBefore, p.cpu()-reallyUsed; got > most+ticks || least < 1.5 {
		t.Errorf("%v s of CPU time, the kernel says %v", got, most)
	}
	if got, want := used("process_disk_io_bytes_total", `disk_io_direction="write"`), p.written(); got != want || want < 16<<20 {
		t.Errorf("%v bytes were written, the kernel says %v", got, want)
	}
	if got, want := used("process_memory_usage_bytes", ""), p.resident(); got < 48<<20 || got < want*0.8 || got > want*1.2 {
		t.Errorf("%v bytes of memory, the kernel says %v", got, want)
	}
	if got := used("process_memory_virtual_bytes", ""); got < used("process_memory_usage_bytes", "") {
		t.Errorf("%v bytes of virtual memory", got)
	}
	settle(t, func() int { return int(sent()) })
	const strays = 2048 // bytes: neighbours look for each other
	if got, want := sent()-sentBefore, p.networkSent()-reallySent; got < want-strays || got > want+strays || want < 100_000 {
		t.Errorf("%v bytes were sent, the kernel says %v", got, want)
	}
	if !strings.Contains(s.text(t), "process_cpu_utilization_ratio{") {
		t.Error("the page has no CPU utilization")
	}
}

// usedProcess is a process as the kernel describes it.
type usedProcess struct {
	t   *testing.T
	pid string
}

func (p usedProcess) file(name string) string {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", p.pid, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

// field returns the number that follows a word.
func (p usedProcess) field(file, word string) float64 {
	p.t.Helper()
	m := regexp.MustCompile(`(?m)^\s*` + word + `:?\s*(\d+)`).FindStringSubmatch(p.file(file))
	if m == nil {
		p.t.Fatalf("/proc/%s/%s has no %s", p.pid, file, word)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// cpu is what its scheduler counted, seconds: finer than ticks.
func (p usedProcess) cpu() float64      { return p.field("schedstat", "") / 1e9 }
func (p usedProcess) written() float64  { return p.field("io", "write_bytes") }
func (p usedProcess) resident() float64 { return p.field("status", "VmRSS") * 1024 }

// networkSent is what the interface of its namespace sent.
func (p usedProcess) networkSent() float64 {
	p.t.Helper()
	_, line, _ := strings.Cut(p.file("net/dev"), "bbp0:")
	fields := strings.Fields(line)
	const sent = 8
	if len(fields) <= sent {
		p.t.Fatal("the namespace has lost its interface")
	}
	n, err := strconv.ParseFloat(fields[sent], 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// pairServer is the address of the second of a pair of network namespaces.
const pairServer = "10.232.7.2"

// newPair makes two network namespaces that are joined, and returns their names.
func newPair(t *testing.T) (client, server string) {
	t.Helper()
	id := fmt.Sprintf("bbp%d", os.Getpid()%100000)
	client, server = id+"c", id+"s"
	t.Cleanup(func() {
		for _, ns := range []string{client, server} {
			_ = exec.Command("ip", "netns", "del", ns).Run() //nolint:noctx // Runs after the test's context.
		}
	})
	for _, args := range []string{
		"netns add " + client, "netns add " + server,
		"link add bbp0 netns " + client + " type veth peer name bbp0 netns " + server,
		"-n " + client + " addr add 10.232.7.1/24 dev bbp0", "-n " + server + " addr add " + pairServer + "/24 dev bbp0",
		"-n " + client + " link set bbp0 up", "-n " + server + " link set bbp0 up",
	} {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
	return client, server
}

// text is what the Prometheus page says.
func (s *system) text(t *testing.T) string {
	t.Helper()
	_, page := get(t, s.page)
	return page
}

// sample returns the value of the series of a metric that has the labels; zero if there is none.
func (s *system) sample(t *testing.T, metric string, labels ...string) float64 {
	t.Helper()
line:
	for line := range strings.Lines(s.text(t)) {
		rest, ok := strings.CutPrefix(line, metric+"{")
		if !ok {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue line
			}
		}
		_, value, _ := strings.Cut(rest, "} ")
		value, _, _ = strings.Cut(strings.TrimSpace(value), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return n
	}
	return 0
}
