// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// server is a program whose server side is observed.
type server struct {
	key, title string
	// secure tells what shows the plaintext of its TLS; empty: it is not run with TLS.
	secure string
	// encrypted says that it is run with TLS and that nothing shows the plaintext.
	encrypted bool
	// start runs it and names the processes' executable.
	start func(ctx context.Context, w *workshop, s *running) (*child, error)
	// cannot says, by key of a shape, why it has no cell. A prefix "tls/" is for its TLS alone.
	cannot map[string]string
	// behind names the server that hands requests on to it, by FastCGI.
	behind string
	// pauses says that it waits for a while, not for its client, when it is to be reset.
	pauses bool
	// closes says that it ends each connection after one response.
	closes bool
}

// running is a server at work.
type running struct {
	server
	port, securePort, extraPort int
	child                       *child
}

// serve returns a start function for a program that takes its ports, certificate and key as arguments.
func serve(argv ...string) func(context.Context, *workshop, *running) (*child, error) {
	return func(ctx context.Context, w *workshop, s *running) (*child, error) {
		args := append(w.expand(argv), strconv.Itoa(s.port))
		if s.secure != "" || s.encrypted {
			args = append(args, strconv.Itoa(s.securePort), w.path("cert.pem"), w.path("key.pem"))
		}
		return launch(ctx, w.path(s.key+".log"), args...)
	}
}

// servers are all of them, in the order of the table.
func servers() []server {
	const (
		noInterim = "the server has no way to send it"
		noEarly   = "the server has no way to send 103"
		oneWay    = "the server has no trailers"
	)
	return []server{
		{key: "go", title: "Go net/http", secure: "crypto/tls", start: serve("DIR/peer", "serve")},
		{key: "python", title: "Python http.server", secure: "OpenSSL", start: serve("PYTHON", "DIR/server.py")},
		{key: "asyncio", title: "Python asyncio", secure: "OpenSSL", start: serve("PYTHON", "DIR/aio.py")},
		{key: "node", title: "Node.js", secure: "OpenSSL", start: serve("node", "DIR/server.mjs")},
		{key: "nginx", title: "nginx", secure: "OpenSSL", start: startNginx, cannot: map[string]string{"early": noEarly}},
		{key: "fpm", title: "PHP-FPM", start: startFPM, behind: "nginx", cannot: behindNginx()},
		{key: "java", title: "Java httpserver", encrypted: true, pauses: true, start: serve("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", "DIR", "Server"), cannot: map[string]string{
			"early": noEarly, "trailers": oneWay, "upgrade": "the server cannot leave HTTP",
		}},
		{key: "php", title: "PHP built-in", start: startPHP, closes: true, pauses: true, cannot: map[string]string{
			"keepalive": "the server closes after each response", "pipelined": "the server closes after each response",
			"continue": noInterim, "early": noEarly, "trailers": oneWay, "upgrade": "the server cannot leave HTTP",
			"unanswered": "the server always answers", "split": "the server hangs up on a head in single bytes",
		}},
		{key: "ruby", title: "Ruby", secure: "OpenSSL", start: serve("ruby", "DIR/server.rb")},
		{key: "rust", title: "Rust", start: serve("DIR/server-rs")},
		{key: "c", title: "C", start: serve("DIR/server-c")},
	}
}

func startPHP(ctx context.Context, w *workshop, s *running) (*child, error) {
	return launch(ctx, w.path("php.log"), "env", "PHP_CLI_SERVER_WORKERS=4", "php", "-d", "post_max_size=20M", "-d", "enable_post_data_reading=0", "-d", "output_buffering=0",
		"-q", "-S", fmt.Sprintf("127.0.0.1:%d", s.port), w.path("server.php"))
}

// startNginx runs nginx with files of its own, and the reference server behind it.
func startNginx(ctx context.Context, w *workshop, s *running) (*child, error) {
	dir := w.path("nginx")
	if err := os.MkdirAll(filepath.Join(dir, "www"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "www", "700"), filler(700), 0o644); err != nil { //nolint:gosec // The workers read it as nobody.
		return nil, err
	}
	text, err := os.ReadFile(w.path("nginx.conf"))
	if err != nil {
		return nil, err
	}
	conf := strings.NewReplacer("DIR", dir, "UPSTREAM", w.reference.plain, "TLSPORT", strconv.Itoa(s.securePort), "PHPPORT", strconv.Itoa(s.extraPort),
		"PORT", strconv.Itoa(s.port), "CERTIFICATE", w.path("cert.pem"), "KEY", w.path("key.pem")).Replace(string(text))
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return launch(ctx, w.path("nginx.log"), nginx, "-c", filepath.Join(dir, "nginx.conf"))
}

// startFPM runs PHP-FPM where nginx looks for it.
func startFPM(ctx context.Context, w *workshop, _ *running) (*child, error) {
	dir := w.path("nginx")
	text, err := os.ReadFile(w.path("fpm.conf"))
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "fpm.conf")
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(string(text), "DIR", dir)), 0o600); err != nil {
		return nil, err
	}
	script, err := os.ReadFile(w.path("server.php"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "server.php"), script, 0o644); err != nil { //nolint:gosec // The workers read it as nobody.
		return nil, err
	}
	c, err := launch(ctx, w.path("fpm.log"), fpm(), "-n", "-y", conf)
	if err != nil {
		return nil, err
	}
	return c, poll(ctx, "PHP-FPM", func() (bool, error) {
		_, err := os.Stat(filepath.Join(dir, "fpm.sock"))
		return err == nil, c.ended()
	})
}

// behindNginx are the shapes that end at nginx and do not reach what is behind it.
func behindNginx() map[string]string {
	cannot := map[string]string{}
	for _, key := range []string{"http10", "pipelined", "trailers", "continue", "early", "upgrade", "split", "unanswered", "reset", "foreign"} {
		cannot[key] = "FastCGI knows no such thing: it is between nginx and its client"
	}
	return cannot
}
