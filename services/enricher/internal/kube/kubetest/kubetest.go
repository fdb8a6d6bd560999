// SPDX-License-Identifier: Apache-2.0

// Package kubetest runs a real Kubernetes API for a test: etcd and kube-apiserver, in which nothing happens but what the test writes.
package kubetest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// adminToken is the password of the test, who may do everything.
const adminToken = "admin-of-the-test"

// Server is a Kubernetes API on the loopback address.
type Server struct {
	folder string
	binary string
	port   int
	etcd   string // URL

	api *exec.Cmd
}

// Start starts a server, which ends with the test. The test is skipped where hack/deps kube has not built it, unless REQUIRE_KUBE is set.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{binary: find(t), folder: t.TempDir(), port: port(t)}
	s.etcd = fmt.Sprintf("http://127.0.0.1:%d", port(t))
	peers := fmt.Sprintf("http://127.0.0.1:%d", port(t))
	s.prepare(t)
	s.run(t, "etcd", "--data-dir", filepath.Join(s.folder, "etcd"), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", s.etcd, "--advertise-client-urls", s.etcd,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	s.StartAPI(t)
	return s
}

// find returns the program.
func find(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "busbar-kube", "k8sapi-????????????"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		if os.Getenv("REQUIRE_KUBE") != "" {
			t.Fatal("no kube-apiserver: hack/deps kube builds it")
		}
		t.Skip("no kube-apiserver: hack/deps kube builds it")
	}
	return found[len(found)-1]
}

// port returns a free port of the loopback address.
func port(t testing.TB) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) path(name string) string { return filepath.Join(s.folder, name) }

// prepare writes the files that the server reads.
func (s *Server) prepare(t testing.TB) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"sa.key":     pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"tokens":     []byte(adminToken + ",admin,admin,system:masters\n"),
		"audit.yaml": []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata, verbs: [get, list, watch]}, {level: None}]\n"),
	} {
		if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs a part of the server until the test ends.
func (s *Server) run(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	log, err := os.OpenFile(s.path("log-"+args[0]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, s.folder
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	return cmd
}

func kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// StopAPI ends the API as a crash does. What it has stays.
func (s *Server) StopAPI(t testing.TB) {
	t.Helper()
	kill(s.api)
}

// StartAPI starts the API, again after StopAPI, and waits until it is ready.
func (s *Server) StartAPI(t testing.TB) {
	t.Helper()
	s.api = s.run(t, "kube-apiserver", "--etcd-servers", s.etcd, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
		"--secure-port", strconv.Itoa(s.port), "--endpoint-reconciler-type", "none", "--cert-dir", s.path("pki"),
		"--service-cluster-ip-range", "10.96.0.0/16", "--authorization-mode", "RBAC", "--token-auth-file", s.path("tokens"),
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", s.path("sa.key"),
		"--service-account-signing-key-file", s.path("sa.key"), "--disable-admission-plugins", "ServiceAccount",
		"--audit-policy-file", s.path("audit.yaml"), "--audit-log-path", s.path("audit.log"), "--v", "0")
	const patience = 2 * time.Minute
	for deadline := time.Now().Add(patience); ; {
		if err := s.ready(t.Context()); err == nil {
			return
		} else if time.Now().After(deadline) {
			log, _ := os.ReadFile(s.path("log-kube-apiserver"))
			t.Fatalf("the API is not ready: %v\n%s", err, log[max(0, len(log)-4000):])
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

func (s *Server) ready(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(s.config(adminToken))
	if err != nil {
		return err
	}
	return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (s *Server) config(token string) *rest.Config {
	return &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", s.port), BearerToken: token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: s.path("pki/apiserver.crt")},
	}
}

// Admin returns a client that may do everything.
func (s *Server) Admin(t testing.TB) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(s.config(adminToken))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Apply creates what a file of YAML documents declares.
func (s *Server) Apply(t testing.TB, file string) {
	t.Helper()
	if err := apply(t.Context(), s.config(adminToken), file); err != nil {
		t.Fatal(err)
	}
}

// Account returns how a service account reaches the API.
func (s *Server) Account(t testing.TB, namespace, name string) *rest.Config {
	t.Helper()
	answer, err := s.Admin(t).CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.config(answer.Status.Token)
}

// Kubeconfig writes a kubeconfig for a service account and returns its path.
func (s *Server) Kubeconfig(t testing.TB, namespace, name string) string {
	t.Helper()
	as := s.Account(t, namespace, name)
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: as.Host, CertificateAuthority: as.CAFile}
	cfg.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: as.BearerToken}
	cfg.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	cfg.CurrentContext = "x"
	path := s.path("kubeconfig-" + name)
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Requests counts the requests that the API has had of a user, as its audit log says, by verb and resource: "list pods".
func (s *Server) Requests(t testing.TB, user string) map[string]int {
	t.Helper()
	data, err := os.ReadFile(s.path("audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	requests := map[string]int{}
	seen := map[string]bool{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var event struct {
			AuditID, Verb string
			User          struct{ Username string }
			ObjectRef     struct{ Resource string }
		}
		if json.Unmarshal(lines.Bytes(), &event) != nil || event.User.Username != user || seen[event.AuditID] {
			continue // a line that is being written, somebody else, or a later stage of the same
		}
		seen[event.AuditID] = true
		requests[event.Verb+" "+event.ObjectRef.Resource]++
	}
	return requests
}
