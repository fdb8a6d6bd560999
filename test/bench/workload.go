// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/busbar/busbar/test/internal/child"
)

// workload is a server and the requests made to it, at a rate that it can do in every variant.
type workload struct {
	name   string
	server string // which of the servers
	path   string
	rate   int // requests a second, all connections together
	tls    bool
	// What a request may cost as a multiple of what it costs without a probe, with tier btf; 0: no target.
	observed, unselected float64
}

// workloads returns what is measured. The rates keep a server between a fifth and a half of its processor busy.
func workloads() []workload {
	return []workload{
		{name: "Go, 2 B", server: "go", path: "/hello", rate: 20000, observed: 1.12, unselected: 1.03},
		{name: "nginx, 2 B", server: "nginx", path: "/hello", rate: 20000, observed: 1.12, unselected: 1.03},
		{name: "Python, 2 B", server: "python", path: "/hello", rate: 1000, observed: 1.12, unselected: 1.03},
		{name: "Go, 64 KiB", server: "go", path: "/hello?size=65536", rate: 4000, observed: 1.05, unselected: 1.03},
		{name: "nginx, 64 KiB", server: "nginx", path: "/64k", rate: 4000, observed: 1.05, unselected: 1.03},
		{name: "Go handler that asks another server", server: "relay", path: "/relay", rate: 3000},
		{name: "Go, 2 B, TLS", server: "gotls", path: "/hello", rate: 3000, tls: true},
		{name: "nginx, 2 B, TLS", server: "nginxtls", path: "/hello", rate: 3000, tls: true},
	}
}

// server is a running server.
type server struct {
	*child.Child
	address string
	// executable is what runs in it, for an Instrumentation to select.
	executable string
}

const nginxConf = `daemon off; master_process off; pid %[1]s/pid; error_log stderr crit; worker_rlimit_nofile 4096;
events {}
http {
  access_log off; keepalive_requests 1000000000; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s;
  uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen %[2]s%[3]s;
    location /hello { return 200 "ok"; }
    location /64k { root %[1]s; }
  }
}
`

const pythonServer = `
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
`

// startServers starts every server on the second processor. They live as long as the measurement: what a server costs when it
// is new is not what is asked.
func startServers(ctx context.Context, dir, bin string) (map[string]*server, func(), error) {
	servers := map[string]*server{}
	stop := func() {
		for _, s := range servers {
			s.Stop()
		}
	}
	if err := writeCertificate(dir); err != nil {
		return nil, nil, err
	}
	at, err := child.Free(6)
	if err != nil {
		return nil, nil, err
	}
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	goServer := filepath.Join(bin, "goserver")
	nginx := func(name, address, more string) ([]string, error) {
		home := filepath.Join(dir, name)
		if err := os.MkdirAll(home, 0o755); err != nil { //nolint:gosec // Read by a server that gives up its privileges.
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(home, "64k"), make([]byte, 64<<10), 0o644); err != nil { //nolint:gosec // The same.
			return nil, err
		}
		conf := filepath.Join(home, "nginx.conf")
		return []string{"nginx", "-p", home, "-c", conf}, os.WriteFile(conf, fmt.Appendf(nil, nginxConf, home, address, more), 0o600)
	}
	plain, err := nginx("nginx", at[1], "")
	if err != nil {
		return nil, nil, err
	}
	secure, err := nginx("nginxtls", at[5], fmt.Sprintf(" ssl; ssl_certificate %s; ssl_certificate_key %s", cert, key))
	if err != nil {
		return nil, nil, err
	}
	for i, s := range []struct {
		name string
		args []string
	}{
		{"go", []string{goServer, "-listen", at[0]}},
		{"nginx", plain},
		{"python", []string{"python3", "-c", pythonServer, child.Port(at[2])}},
		{"relay", []string{goServer, "-listen", at[3], "-forward", "http://" + at[0] + "/hello"}},
		{"gotls", []string{goServer, "-listen", at[4], "-cert", cert, "-key", key}},
		{"nginxtls", secure},
	} {
		c, err := child.Launch(ctx, "taskset", append([]string{"-c", "1"}, s.args...)...)
		if err != nil {
			stop()
			return nil, nil, err
		}
		servers[s.name] = &server{Child: c, address: at[i]}
		if err := child.Listening(ctx, at[i]); err != nil {
			stop()
			return nil, nil, fmt.Errorf("%s: %w\n%s", s.name, err, c.Log())
		}
		if servers[s.name].executable, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", c.PID())); err != nil {
			stop()
			return nil, nil, err
		}
	}
	return servers, stop, nil
}

// measure makes the requests of a workload.
func (w workload) measure(ctx context.Context, s *server, window time.Duration) (answer, error) {
	return runLoad(ctx, load{Address: s.address, Path: w.path, Rate: w.rate, TLS: w.tls, Window: window, PID: s.PID()})
}
