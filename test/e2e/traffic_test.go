// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// request is one HTTP exchange that the test makes; path names it, as no other request has the same.
type request struct {
	Method    string `json:"method"`
	URL       string `json:"url"`
	Body      string `json:"body"`
	KeepAlive bool   `json:"keepalive"`

	server, client string // service names
	path           string
	status         int64
}

// secret stands in every query; it may never leave the node.
const secret = "s3cret-of-the-query"

// server is an HTTP server of some language that knows nothing of Busbar.
type server struct{ service, address string }

// startServers starts one server of each kind. All but nginx carry a service name in their environment, the standard way;
// nginx is named by its executable.
func startServers(t *testing.T) []server {
	t.Helper()
	dir := t.TempDir()
	nginx, err := os.ReadFile("testdata/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	servers := []server{
		{"shop-go", freeAddress(t)}, {"shop-python", freeAddress(t)}, {"shop-node", freeAddress(t)}, {"nginx", freeAddress(t)},
	}
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, strings.NewReplacer("DIR", dir, "LISTEN", servers[3].address).Replace(string(nginx)))
	start(t, []string{"OTEL_SERVICE_NAME=shop-go"}, "goserver", "-listen", servers[0].address)
	start(t, []string{"OTEL_SERVICE_NAME=shop-python"}, "python3", "testdata/server.py", servers[1].address)
	start(t, []string{"OTEL_SERVICE_NAME=shop-node"}, "node", "testdata/server.mjs", servers[2].address)
	start(t, nil, "/usr/sbin/nginx", "-c", conf)
	for _, s := range servers {
		wait(t, 30*time.Second, s.service+" to listen", func() bool { return dials(s.address) })
	}
	return servers
}

// httpClient makes requests with a real HTTP client.
type httpClient struct {
	service string
	run     func(t *testing.T, rs []request)
}

func clients() []httpClient {
	return []httpClient{
		{"client-go", jsonClient("client-go", "goclient")},
		{"client-python", jsonClient("client-python", "python3", "testdata/client.py")},
		{"client-node", jsonClient("client-node", "node", "testdata/client.mjs")},
		{"curl", curl},
	}
}

// jsonClient runs a program that reads requests as JSON lines.
func jsonClient(service string, program ...string) func(*testing.T, []request) {
	return func(t *testing.T, rs []request) {
		t.Helper()
		var in bytes.Buffer
		enc := json.NewEncoder(&in)
		for _, r := range rs {
			if err := enc.Encode(r); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok := programs[program[0]]; ok {
			program[0] = filepath.Join(bin, program[0])
		}
		cmd := exec.CommandContext(t.Context(), program[0], program[1:]...)
		cmd.Env = append(os.Environ(), "OTEL_SERVICE_NAME="+service)
		cmd.Stdin = &in
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", service, err, out)
		}
	}
}

// curl makes the kept-alive requests in one process, and each of the others in a process of its own, which lives for
// milliseconds. Together they would not do: a server may close after `Connection: close` without saying so, and curl,
// which then finds its connection dead, makes the request again; the probe rightly shows both.
func curl(t *testing.T, rs []request) {
	t.Helper()
	var together []string
	for _, r := range rs {
		args := curlArgs(r)
		if !r.KeepAlive {
			run(t, "curl", args...)
			continue
		}
		if len(together) > 0 {
			together = append(together, "--next")
		}
		together = append(together, args...)
	}
	run(t, "curl", together...)
}

func curlArgs(r request) []string {
	args := []string{"--silent", "--show-error", "--output", "/dev/null", "--max-time", "60", "--path-as-is"}
	if r.Method == "HEAD" {
		args = append(args, "--head")
	} else {
		args = append(args, "--request", r.Method)
	}
	if r.Body != "" {
		args = append(args, "--data", r.Body)
	}
	if !r.KeepAlive {
		args = append(args, "--header", "Connection: close")
	}
	return append(args, r.URL)
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// plan lays out n requests of a client to a server: methods, statuses, sizes, kept-alive and closed connections in a
// fixed mix.
func plan(s server, c httpClient, n int) []request {
	methods := []string{"GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"}
	statuses := []int64{200, 200, 200, 200, 201, 204, 302, 404, 500, 503}
	rs := make([]request, n)
	for i := range rs {
		r := request{server: s.service, client: c.service, Method: methods[i%len(methods)], status: statuses[i%len(statuses)], KeepAlive: i%2 == 0}
		r.path = fmt.Sprintf("/%s/%s/orders/%d", s.service, c.service, 1000+i)
		r.URL = fmt.Sprintf("http://%s%s?code=%d&size=%d&token=%s", s.address, r.path, r.status, []int{2, 700, 40000}[i%3], secret)
		if r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH" {
			r.Body = strings.Repeat("b", []int{3, 900, 30000}[i%3])
		}
		rs[i] = r
	}
	return rs
}
