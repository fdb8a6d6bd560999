// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// TLS names the files of a server's TLS. All are read again when they change.
type TLS struct {
	Cert, Key string // PEM; both or none
	ClientCA  string // PEM; if set, clients show a certificate of one of these authorities
}

const lookAtCertificates = time.Second

// Config returns the settings of a server, nil without files.
func (t TLS) Config() (*tls.Config, error) {
	if t == (TLS{}) {
		return nil, nil //nolint:nilnil // documented
	}
	if t.Cert == "" || t.Key == "" {
		return nil, errors.New("a certificate and its key go together")
	}
	f := &certificates{files: t}
	if err := f.read(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.current(), nil },
		// Only so that the server sees that it has one: it asks for the settings of each client first.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &f.current().Certificates[0], nil },
	}, nil
}

// certificates are what the files held last.
type certificates struct {
	files TLS

	mu     sync.Mutex
	looked time.Time
	stamp  string // of the files as they were read
	config *tls.Config
}

// current looks at the files if that was not done just now. While they cannot be read, what was read before stays.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) > lookAtCertificates {
		c.looked = time.Now()
		if c.stamps() != c.stamp {
			_ = c.read()
		}
	}
	return c.config
}

// stamps tells a change of the files.
func (c *certificates) stamps() string {
	var all strings.Builder
	for _, name := range []string{c.files.Cert, c.files.Key, c.files.ClientCA} {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintln(&all, info.ModTime().UnixNano(), info.Size())
		}
	}
	return all.String()
}

func (c *certificates) read() error {
	stamp := c.stamps()
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{pair}}
	if c.files.ClientCA != "" {
		pem, err := os.ReadFile(c.files.ClientCA)
		if err != nil {
			return fmt.Errorf("read authorities of clients: %w", err)
		}
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("read authorities of clients: no certificate in %s", c.files.ClientCA)
		}
	}
	c.config, c.stamp = config, stamp
	return nil
}
