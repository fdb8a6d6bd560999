// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPHP: nginx before PHP-FPM, over a unix socket and over TCP, and before HTTP over a unix socket. Each request is seen four
// times: by its client and by nginx, and by nginx and by what is behind it.
func TestPHP(t *testing.T) {
	needRoot(t)
	for _, tier := range []string{"btf", "syscall"} {
		t.Run(tier, func(t *testing.T) {
			b := newBackend(t)
			s := allInOne(t, "--tier", tier, "--otlp", "http://"+b.http)
			front := startPHP(t, nil)
			sent := map[string]request{}
			var all []request
			for i := range 1000 {
				r := behindNginx(front, i)
				sent[r.path] = r
				all = append(all, r)
			}
			jsonClient("client-go", "goclient")(t, all)
			settle(t, func() int { return len(ours(b, sent)) })
			checkBehindNginx(t, sent, ours(b, sent))
			checkPrivacy(t, b, s)
		})
	}
}

// startPHP returns the address of the nginx before it; env is that of PHP.
func startPHP(t *testing.T, env []string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/sbin/php-fpm*")
	if len(found) == 0 {
		t.Fatal("php-fpm is missing: hack/deps test")
	}
	dir, front, php := t.TempDir(), freeAddress(t), freeAddress(t)
	for from, to := range map[string]string{"php-nginx.conf": front, "php.conf": php, "index.php": "", "relay.php": ""} {
		text, err := os.ReadFile(filepath.Join("testdata", from))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, from), strings.NewReplacer("DIR", dir, "LISTEN", to, "PHP;", php+";").Replace(string(text)))
	}
	start(t, env, found[0], "--allow-to-run-as-root", "--nodaemonize", "--fpm-config", filepath.Join(dir, "php.conf"))
	start(t, nil, "/usr/sbin/nginx", "-c", filepath.Join(dir, "php-nginx.conf"))
	for _, address := range []string{front, php} {
		wait(t, 30*time.Second, address+" to listen", func() bool { return dials(address) })
	}
	wait(t, 30*time.Second, "PHP to listen at its path", func() bool {
		c, err := net.Dial("unix", filepath.Join(dir, "php.sock"))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return front
}

// behindNginx makes the i-th request: to each kind of back end in turn, in a fixed mix of methods, statuses and sizes.
func behindNginx(front string, i int) request {
	kind := []string{"php-unix", "php-tcp", "php-unix", "http-unix", "php-tcp", "http-unix-close"}[i%6]
	r := request{
		Method: []string{"GET", "GET", "POST", "GET", "PUT", "DELETE", "GET"}[i%7], KeepAlive: i%4 != 0,
		status: []int64{200, 404, 200, 500, 200}[i%5], path: fmt.Sprintf("/%s/orders/%d", kind, 1000+i),
	}
	if r.Method == "POST" || r.Method == "PUT" {
		r.Body = strings.Repeat("b", []int{3, 900, 60000}[i%3])
	}
	r.URL = fmt.Sprintf("http://%s%s?code=%d&size=%d&token=%s", front, r.path, r.status, []int{2, 700, 100_000}[i%3], secret)
	if strings.HasPrefix(kind, "php") { // a long query hides the Host of HTTP, but no parameter of FastCGI
		r.URL += strings.Repeat("x", i%900)
	}
	return r
}

// checkBehindNginx: of each request there are the four spans, and each server's is a child of its client's.
func checkBehindNginx(t *testing.T, sent map[string]request, got []span) {
	t.Helper()
	byPath := map[string]map[string]span{}
	for _, s := range got {
		p := path(s)
		if byPath[p] == nil {
			byPath[p] = map[string]span{}
		}
		where := "front"
		if s.attributes["network.protocol.name"] == "fastcgi" || s.attributes["network.transport"] == "unix" {
			where = "behind"
		}
		if _, twice := byPath[p][where+s.kind]; twice {
			t.Errorf("%s: two spans of kind %s %s", p, where, s.kind)
		}
		byPath[p][where+s.kind] = s
	}
	wrong := 0
	for p, r := range sent {
		if fault := behindFault(r, byPath[p]); fault != "" {
			if wrong++; wrong < 10 {
				t.Errorf("%s %s: %s", r.Method, p, fault)
			}
		}
	}
	if wrong > 0 || len(got) != 4*len(sent) {
		t.Errorf("%d of %d requests are not as they should be, %d spans", wrong, len(sent), len(got))
	}
}

func behindFault(r request, spans map[string]span) string {
	php := strings.HasPrefix(r.path, "/php-")
	for kind, service := range map[string]string{"frontClient": "client-go", "frontServer": "nginx", "behindClient": "nginx", "behindServer": "php-fpm"} {
		s, ok := spans[kind]
		switch {
		case !ok:
			return "no span " + kind
		case kind == "behindServer" && !php:
			service = "nginx"
		}
		if !strings.HasPrefix(s.service, service) || s.method != r.Method || s.status != r.status {
			return fmt.Sprintf("%s of service %s has method %s and status %d, want %s, %s, %d", kind, s.service, s.method, s.status, service, r.Method, r.status)
		}
	}
	for _, where := range []string{"front", "behind"} {
		c, s := spans[where+"Client"], spans[where+"Server"]
		if s.parent != c.id || s.trace != c.trace {
			return fmt.Sprintf("%s: server is %s/%s, client %s/%s", where, s.trace, s.parent, c.trace, c.id)
		}
	}
	s := spans["behindServer"]
	fastCGI, unix := s.attributes["network.protocol.name"] == "fastcgi", s.attributes["network.transport"] == "unix"
	if fastCGI != php || unix == strings.HasPrefix(r.path, "/php-tcp") {
		return fmt.Sprintf("behind: FastCGI %t, unix %t", fastCGI, unix)
	}
	return ""
}
