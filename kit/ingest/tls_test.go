// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/busbar/busbar/kit/bus/bustest"
)

// certificate writes a certificate for this machine, signed by itself, and its key.
func certificate(t *testing.T, serial int64, cert, key string) tls.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// The server shows the certificate that the files hold now, and asks clients for theirs.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := TLS{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), ClientCA: filepath.Join(dir, "ca")}
	own := certificate(t, 7, files.ClientCA, filepath.Join(dir, "client"))
	certificate(t, 1, files.Cert, files.Key)
	config, err := files.Config()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Listen(t.Context(), ServerConfig{
		Address: "127.0.0.1:0", Service: "test", TLS: config, Log: slog.New(slog.DiscardHandler),
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	get := func(with ...tls.Certificate) *http.Response {
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: with}} //nolint:gosec // the test looks at it itself
		defer transport.CloseIdleConnections()
		answer, err := (&http.Client{Transport: transport}).Get("https://" + s.Addr().String())
		if err != nil {
			return nil
		}
		answer.Body.Close()
		return answer
	}
	if answer := get(own); answer == nil || answer.ProtoMajor != 2 || answer.TLS.PeerCertificates[0].SerialNumber.Int64() != 1 {
		t.Errorf("with a certificate: %+v", answer)
	}
	if answer := get(); answer != nil {
		t.Errorf("without a certificate: %+v", answer)
	}
	certificate(t, 2, files.Cert, files.Key)
	bustest.Eventually(t, "the next certificate is shown", func() bool {
		answer := get(own)
		return answer != nil && answer.TLS.PeerCertificates[0].SerialNumber.Int64() == 2
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, bad := range []TLS{{Cert: files.Cert}, {Cert: files.Cert, Key: files.Cert}, {Cert: files.Cert, Key: files.Key, ClientCA: files.Key}} {
		if _, err := bad.Config(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
