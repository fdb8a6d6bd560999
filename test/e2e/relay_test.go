// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// relay is a server that answers with what another server answers.
type relay struct {
	name string
	// Percent of its requests that must be in the trace of those they are made for, with one and with many at a time; the others
	// begin traces.
	alone, together int
	begin           func(t *testing.T, env []string, listen, upstream string) (front string)
}

func relays() []relay {
	command := func(name string, args func(listen, upstream string) []string) func(t *testing.T, env []string, listen, upstream string) string {
		return func(t *testing.T, env []string, listen, upstream string) string {
			start(t, env, name, args(listen, upstream)...)
			return listen
		}
	}
	gunicorn := func(model ...string) func(t *testing.T, env []string, listen, upstream string) string {
		return command("gunicorn", func(listen, _ string) []string {
			return append([]string{"--chdir", "testdata", "--bind", listen, "relay_wsgi:app"}, model...)
		})
	}
	java := func(client string) func(t *testing.T, env []string, listen, upstream string) string {
		return command("java", func(listen, upstream string) []string {
			return []string{"testdata/Relay.java", listen, upstream, client}
		})
	}
	all := []relay{
		{"gunicorn sync", 100, 100, gunicorn("--workers", "3")},
		{"gunicorn gthread", 100, 100, gunicorn("--workers", "2", "--threads", "8")},
		{"puma", 1, 1, command("puma", func(listen, _ string) []string {
			return []string{"--quiet", "--threads", "8:8", "--bind", "tcp://" + listen, "testdata/relay.ru"}
		})},
		{"php-fpm", 100, 100, func(t *testing.T, env []string, _, _ string) string { return startPHP(t, env) }},
		{"asyncio", 100, 0, command("python3", func(listen, upstream string) []string { return []string{"testdata/relay_asyncio.py", listen, upstream} })},
	}
	if _, err := exec.LookPath("javac"); err == nil { // as `make accuracy` installs it
		all = append(all, relay{"java, blocking", 100, 100, java("blocking")}, relay{"java, HttpClient", 0, 0, java("client")})
	}
	return all
}

// TestTraceThroughServers: servers of every model make a request for each that they serve, with many at a time. What they ask for is in the
// trace of the request for which they ask, or begins a trace; it is never in the trace of another one.
func TestTraceThroughServers(t *testing.T) {
	needRoot(t)
	b := newBackend(t)
	allInOne(t, "--otlp", "http://"+b.http)
	upstream := freeAddress(t)
	start(t, []string{"OTEL_SERVICE_NAME=upstream"}, "goserver", "-listen", upstream)
	for i, r := range relays() {
		t.Run(r.name, func(t *testing.T) {
			service := fmt.Sprintf("relay-%d", i)
			if r.name == "php-fpm" { // writes its title over its environment
				service = r.name
			}
			front := r.begin(t, []string{"OTEL_SERVICE_NAME=" + service, "UPSTREAM=" + upstream, "PYTHONDONTWRITEBYTECODE=1"}, freeAddress(t), upstream)
			for _, a := range []string{upstream, front} {
				wait(t, time.Minute, "the servers to listen", func() bool { return dials(a) })
			}
			for together, share := range map[int]int{1: r.alone, 20: r.together} {
				prefix := fmt.Sprintf("/relay/%s-%d", service, together)
				right := checkRelay(t, b, service, prefix, func(n int) { askTogether(t, "http://"+front+prefix, n, together) })
				t.Logf("%d at a time: %d %% are in the trace of the request they are made for", together, right)
				if right < share {
					t.Errorf("want %d %%", share)
				}
			}
		})
	}
}

// checkRelay has requests made below a prefix, and returns for how many in a hundred the request that the relay makes is in their trace.
// None may be in the trace of another one.
func checkRelay(t *testing.T, b *backend, service, prefix string, ask func(n int)) (percent int) {
	t.Helper()
	const requests = 400
	ask(requests)
	served, made := map[string]span{}, map[string]span{}
	wait(t, 30*time.Second, "both spans of every request", func() bool {
		spans, _, _ := b.received()
		for _, s := range spans {
			switch {
			case !strings.HasPrefix(s.service, service) || !strings.HasPrefix(path(s), prefix):
			case s.kind == "Server":
				served[path(s)] = s
			default:
				made[path(s)] = s
			}
		}
		return len(served) == requests && len(made) == requests
	})
	right := 0
	for p, s := range served {
		m := made[p]
		switch {
		case m.parent == s.id && m.trace == s.trace:
			right++
		case m.parent != "" || m.trace == s.trace:
			t.Errorf("%s is made for %s of trace %s, and its parent is %s of trace %s", p, s.id, s.trace, m.parent, m.trace)
		}
	}
	return right * 100 / requests
}

// askTogether makes n requests, so many at a time.
func askTogether(t *testing.T, url string, n, together int) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: together}}
	defer client.CloseIdleConnections()
	var workers sync.WaitGroup
	for w := range together {
		workers.Go(func() {
			for i := w; i < n; i += together {
				res, err := client.Get(fmt.Sprintf("%s/%d", url, i)) //nolint:noctx // Ends with the servers.
				if err != nil {
					t.Error(err)
					return
				}
				if res.StatusCode != http.StatusOK {
					t.Errorf("status %d", res.StatusCode)
				}
				_ = res.Body.Close()
			}
		})
	}
	workers.Wait()
}
