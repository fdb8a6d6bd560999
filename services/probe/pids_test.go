// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/probe"
)

// talk is a script that makes one request, of PATH on PORT, and reads the response to its end.
const talk = `exec 3<>/dev/tcp/127.0.0.1/$PORT; printf 'GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' $PATH_ASKED >&3
while read -r line <&3; do :; done; exec 3>&-
`

// script runs a script under a service name and returns what it printed.
func script(t *testing.T, text, service, address, path string, env ...string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", text)
	cmd.Env = append(append(os.Environ(), "OTEL_SERVICE_NAME="+service, "PORT="+port, "PATH_ASKED="+path, "TALK="+talk), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// clients returns by path the processes that made requests below a prefix.
func (r *running) clients(t *testing.T, prefix string) map[string][]*eventv1.Process {
	t.Helper()
	found := map[string][]*eventv1.Process{}
	for _, b := range r.stored(t) {
		for _, x := range b.GetExchanges() {
			if path := x.GetHttp().GetPath(); x.GetRole() == eventv1.Role_ROLE_CLIENT && strings.HasPrefix(path, prefix) {
				found[path] = append(found[path], b.GetProcesses()[x.GetProcess()])
			}
		}
	}
	return found
}

// TestProbeCountsShortLives has 2,000 processes make one request each, and end.
func TestProbeCountsShortLives(t *testing.T) {
	needKernel(t)
	const n, together = 2000, 4
	r := start(t, probe.TierAuto)
	_, address, _ := actor(t, "server")
	var workers sync.WaitGroup
	for w := range together {
		workers.Go(func() {
			for i := w; i < n; i += together {
				script(t, talk, "short", address, fmt.Sprintf("/short/%d/200", i))
			}
		})
	}
	workers.Wait()
	r.end(t)
	lives := map[string]bool{}
	found := r.clients(t, "/short/")
	for path, by := range found {
		if len(by) != 1 || by[0].GetOtelServiceName() != "short" || !strings.HasSuffix(by[0].GetExecutable(), "/bash") {
			t.Errorf("%s was asked for by %v", path, by)
			continue
		}
		lives[fmt.Sprint(by[0].GetPid(), by[0].GetStartUnixNano())] = true
	}
	if d := cmp.Diff([]int{n, n}, []int{len(found), len(lives)}); d != "" {
		t.Errorf("requests and processes (-want +got):\n%s", d)
	}
}

// TestProbeTellsPidsApart gives the id of a process that has talked and ended to another one, which forks and execs, or only forks.
func TestProbeTellsPidsApart(t *testing.T) {
	needKernel(t)
	const next = "echo $((PID - 1)) >/proc/sys/kernel/ns_last_pid; "
	r := start(t, probe.TierAuto)
	_, address, _ := actor(t, "server")
	for name, again := range map[string]string{
		"fork":          next + `(eval "$TALK"; echo $BASHPID)`,
		"fork and exec": next + `OTEL_SERVICE_NAME=new bash -c "$TALK echo \$\$"; true`,
	} {
		t.Run(name, func(t *testing.T) {
			prefix := "/" + strings.ReplaceAll(name, " ", "-")
			reused, latest := "", ""
			for attempt := 0; reused == ""; attempt++ { // the id may be taken by somebody else
				if attempt == 100 {
					t.Fatal("no process got the id of another one")
				}
				latest = fmt.Sprintf("%s/new/%d/200", prefix, attempt)
				pid := script(t, talk+"echo $$", "old", address, fmt.Sprintf("%s/old/%d/200", prefix, attempt))
				if script(t, again, "new", address, latest, "PID="+pid) == pid {
					reused = pid
				}
			}
			bustest.Eventually(t, "the last request is seen", func() bool { return len(r.clients(t, latest)) > 0 })
			found := 0
			for path, by := range r.clients(t, prefix) {
				service := strings.Split(path, "/")[2]
				if len(by) != 1 || by[0].GetOtelServiceName() != service {
					t.Errorf("%s was asked for by %v", path, by)
				}
				if strconv.Itoa(int(by[0].GetPid())) == reused {
					found++
				}
			}
			if found < 2 {
				t.Errorf("%d exchanges of process %s, want those of both that had the id", found, reused)
			}
		})
	}
}
