// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed testdata
var sources embed.FS

// workshop is a folder with the programs under test, ready to run.
type workshop struct {
	dir       string
	cert      tls.Certificate
	pool      *x509.CertPool
	reference *reference
	bodies    sync.Once
}

// build makes the programs that are asked for in dir. It needs the tool chains; the rest runs without them.
func build(ctx context.Context, dir string, c *choice) error {
	err := fs.WalkDir(sources, "testdata", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := sources.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, d.Name()), data, 0o644) //nolint:gosec // PHP-FPM's workers read it as nobody.
	})
	if err != nil {
		return err
	}
	if err := certificate(dir); err != nil {
		return err
	}
	const module = "github.com/busbar/busbar/"
	in := func(name string) string { return filepath.Join(dir, name) }
	rust := []string{"rustc", "--edition", "2021", "-O", "-o"}
	gcc := []string{"gcc", "-O2", "-pthread", "-static", in("calls.c"), "-o"}
	for _, p := range []struct {
		key  string
		argv []string
	}{
		{"", []string{"go", "build", "-o", in("busbar-probe"), module + "services/probe/cmd/busbar-probe"}},
		{"go", []string{"go", "build", "-o", in("peer"), module + "test/accuracy/peer"}},
		{"java", []string{"javac", "-d", dir, in("Server.java"), in("Client.java")}},
		{"rust", append(slices.Clone(rust), in("server-rs"), in("server.rs"))},
		{"rust", append(slices.Clone(rust), in("client-rs"), in("client.rs"))},
		{"c", append(slices.Clone(gcc), in("server-c"), in("server.c"))},
		{"c", append(slices.Clone(gcc), in("client-c"), in("client.c"))},
	} {
		if p.key != "" && !chosen(c.servers, p.key) && !chosen(c.clients, p.key) {
			continue
		}
		cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(p.argv, " "), err, out)
		}
	}
	return nil
}

// certificate writes a certificate for loopback that is its own authority.
func certificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "accuracy"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// open makes a workshop of a folder that build has filled.
func open(dir string) (*workshop, error) {
	w := &workshop{dir: dir, pool: x509.NewCertPool()}
	var err error
	if w.cert, err = tls.LoadX509KeyPair(w.path("cert.pem"), w.path("key.pem")); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(w.path("cert.pem"))
	if err != nil {
		return nil, err
	}
	w.pool.AppendCertsFromPEM(text)
	w.reference, err = newReference(w.cert)
	return w, err
}

func (w *workshop) path(name string) string { return filepath.Join(w.dir, name) }

// write writes a file and returns its path.
func (w *workshop) write(name, text string) string {
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		panic(err) // the folder is ours
	}
	return w.path(name)
}

// expand fills in the places that the words of a command line name.
func (w *workshop) expand(argv []string) []string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = strings.NewReplacer("DIR", w.dir, "PYTHON", python()).Replace(a)
	}
	return out
}

// python is Debian's, where there is one: the first in PATH may be a script that looks for it.
func python() string {
	const debian = "/usr/bin/python3"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	return "python3"
}

const nginx = "/usr/sbin/nginx" // not in everybody's PATH

// fpm is PHP-FPM, which Debian names by its version.
func fpm() string {
	found, err := filepath.Glob("/usr/sbin/php-fpm[0-9]*")
	if err != nil || len(found) == 0 {
		return "php-fpm"
	}
	return found[len(found)-1]
}

// executables returns a glob for every program under test.
func (w *workshop) executables() []string {
	self, err := os.Executable()
	if err != nil {
		panic(err) // Linux knows
	}
	out := []string{self, w.dir + "/*"}
	for _, name := range []string{python(), "node", nginx, "java", "php", fpm(), "ruby", "curl", "wget"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if path, err = filepath.EvalSymlinks(path); err == nil {
			out = append(out, path)
		}
	}
	return out
}
