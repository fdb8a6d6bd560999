// SPDX-License-Identifier: Apache-2.0

package container

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	idA = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	idB = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
)

// recorded is what a real runtime said.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParse(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]*eventv1.Container{
		"compose.json": {Name: "shop-cart-1", Image: "busybox:1", Labels: map[string]string{
			"com.docker.compose.project": "shop", "com.docker.compose.service": "cart", "resource.opentelemetry.io/team": "checkout",
		}},
		"plain.json": {Name: "lonely", Image: "busybox:1"},
	} {
		c, err := parseInspect(bytes.NewReader(recorded(t, file)))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, bounded(c), protocmp.Transform()); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
	}
	pod := map[string]string{labelContainer: "cart", labelPod: "cart-5d9c-x7", labelNamespace: "shop", labelUID: "1b2c"}
	for name, c := range map[string]struct {
		text string
		want *eventv1.Container
	}{
		"kubelet's": {
			`{"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.container-name":"cart","io.kubernetes.cri.container-type":"container",
			"io.kubernetes.cri.image-name":"registry.example/shop/cart:1.4","io.kubernetes.cri.sandbox-id":"x",
			"io.kubernetes.cri.sandbox-name":"cart-5d9c-x7","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"1b2c"}}`,
			&eventv1.Container{Name: "cart", Image: "registry.example/shop/cart:1.4", Labels: pod},
		},
		"kubelet's pause": {`{"annotations":{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-name":"cart-5d9c-x7"}}`, nil},
		"nerdctl's":       {`{"annotations":{"nerdctl/name":"web","nerdctl/namespace":"default","other":"x"}}`, &eventv1.Container{Name: "web"}},
		"Docker's":        {string(recorded(t, "bundle.json")), nil},
	} {
		got, err := parseBundle(strings.NewReader(c.text))
		if (err != nil) != (c.want == nil) {
			t.Errorf("%s: error %v", name, err)
			continue
		}
		if err == nil {
			if d := cmp.Diff(c.want, bounded(got), protocmp.Transform()); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
	}
}

// run starts the Finder until the test ends.
func run(t *testing.T, f *Finder) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// serve answers like Docker on a unix socket.
func serve(t *testing.T, answer http.HandlerFunc) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "docker.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: answer, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return socket
}

// eventually waits for an answer.
func eventually(t *testing.T, f *Finder) map[string]*eventv1.Container {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if !f.Waiting() {
			return f.Answers()
		}
	}
	t.Fatal("no answer in a minute")
	return nil
}

func TestFinder(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path != "/containers/"+idA+"/json" || !strings.HasPrefix(r.UserAgent(), "busbar/") {
			http.Error(w, `{"message":"No such container"}`, http.StatusNotFound)
			return
		}
		_, _ = w.Write(recorded(t, "compose.json"))
	})
	root := t.TempDir()
	bundle := filepath.Join(root, "run/containerd/io.containerd.runtime.v2.task/default", idB)
	if err := os.MkdirAll(bundle, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(`{"annotations":{"nerdctl/name":"web"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := New([]string{filepath.Join(root, "absent.sock"), socket}, []string{filepath.Join(root, "absent"), root}, slog.New(slog.DiscardHandler))
	run(t, f)
	unknown := strings.Repeat("0", 64)
	for range 2 { // the second time from memory
		f.Of(idA, "/docker/"+idA)
		f.Of(idB, "/default/"+idB)
		f.Of(unknown, "/docker/"+unknown)
		f.Of(strings.Repeat("1", 64), "/kubepods/besteffort/pod1/"+idA)
		f.Of("../../etc", "/docker/x")
		got := eventually(t, f)
		if f.Of(idA, "").GetName() != "shop-cart-1" || f.Of(idB, "").GetName() != "web" || f.Of(unknown, "") != nil {
			t.Errorf("%v, %v, %v", f.Of(idA, ""), f.Of(idB, ""), f.Of(unknown, ""))
		}
		if got != nil && (got[idA].GetName() != "shop-cart-1" || len(got) != 2) {
			t.Errorf("answers %v", got)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the runtime was asked %d times about two containers", n)
	}
}

// stubborn does not answer, until it does.
type stubborn struct{ answers bool }

func (s *stubborn) look(ctx context.Context, _ string) (*eventv1.Container, error) {
	if !s.answers {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &eventv1.Container{Name: "late"}, nil
}

func TestARuntimeThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, s := New(nil, nil, slog.New(slog.DiscardHandler)), &stubborn{}
		f.runtimes = []source{s}
		run(t, f)
		f.Of(idA, "")
		time.Sleep(patience - time.Nanosecond)
		if !f.Waiting() {
			t.Error("it was not waited for")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if f.Waiting() || f.Answers() != nil {
			t.Error("it is waited for")
		}
		s.answers = true
		f.Of(idA, "")
		synctest.Wait()
		if f.Answers() != nil {
			t.Error("asked again at once")
		}
		time.Sleep(askAgain)
		f.Of(idA, "")
		synctest.Wait()
		if got := f.Answers(); got[idA].GetName() != "late" {
			t.Errorf("answers %v", got)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	f := New(nil, nil, slog.New(slog.DiscardHandler)) // and nobody runs it
	for i := range 4 * maxKnown {
		f.Of(fmt.Sprintf("%064x", i), "")
	}
	if len(f.asked) != maxWaiting || len(f.known[0])+len(f.known[1]) > 2*maxKnown {
		t.Errorf("%d waiting, %d and %d known", len(f.asked), len(f.known[0]), len(f.known[1]))
	}
	for i := range 4 * maxKnown {
		f.answer(fmt.Sprintf("%064x", i), answer{})
	}
	if len(f.known[0]) > maxKnown || len(f.known[1]) > maxKnown {
		t.Errorf("%d and %d known", len(f.known[0]), len(f.known[1]))
	}
	var none *Finder
	if none.Of(idA, "") != nil || none.Answers() != nil || none.Waiting() {
		t.Error("no finder finds")
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"compose.json", "plain.json", "bundle.json"} {
		f.Add(recorded(f, name))
	}
	f.Add([]byte(`{"annotations":{"nerdctl/name":"web","resource.opentelemetry.io/a\xff":"b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func() (*eventv1.Container, error){
			func() (*eventv1.Container, error) { return parseInspect(bytes.NewReader(data)) },
			func() (*eventv1.Container, error) { return parseBundle(bytes.NewReader(data)) },
		} {
			c, err := parse()
			if (err == nil) != (c != nil) {
				t.Fatalf("%v and %v", c, err)
			}
			if c == nil {
				continue
			}
			c = bounded(c)
			size := 0
			for k, v := range c.GetLabels() {
				if size += len(k) + len(v); !utf8.ValidString(k + v) {
					t.Fatalf("label %q=%q", k, v)
				}
			}
			if size > maxBytes || len(c.GetName()) > maxText || len(c.GetImage()) > maxText || !utf8.ValidString(c.GetName()+c.GetImage()) {
				t.Fatalf("%v", c)
			}
		}
	})
}
