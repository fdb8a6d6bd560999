// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// bodyOf receives and decodes a body that comes at once.
func bodyOf(g *Gate, tenant string, data []byte, encoding string) (*Body, error) {
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(data))
	b, err := g.Receive(httptest.NewRecorder(), r, tenant)
	if err != nil {
		return nil, err
	}
	if err := b.Decode(context.Background(), encoding); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// idle fails unless nobody holds anything.
func idle(t *testing.T, g *Gate) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all != (share{}) || len(g.tenants) > 0 {
		t.Errorf("still held: %+v, tenants %v", g.all, g.tenants)
	}
}

func compressed(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch name {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zlib":
		w = zlib.NewWriter(&buf)
	case "flate":
		w, _ = flate.NewWriter(&buf, 1)
	case "zstd":
		w, _ = zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
	case "framed":
		w = snappy.NewBufferedWriter(&buf)
	case "block":
		return snappy.Encode(nil, data)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestDecode(t *testing.T) {
	t.Parallel()
	g := NewGate(Limits{}, "test", nil)
	want := []byte(strings.Repeat("what is said ", 20000))
	twice := func(name string) []byte {
		return append(compressed(t, name, want[:1000]), compressed(t, name, want[1000:])...)
	}
	for _, tc := range []struct {
		encoding string
		data     []byte
	}{
		{"", want}, {"identity", want}, {"gzip", compressed(t, "gzip", want)}, {"GZIP ", twice("gzip")},
		{"zstd", compressed(t, "zstd", want)}, {"zstd1", twice("zstd")},
		{"deflate", compressed(t, "zlib", want)}, {"zlib", compressed(t, "zlib", want)}, {"deflate", compressed(t, "flate", want)},
		{"snappy", compressed(t, "block", want)}, {"snappy", compressed(t, "framed", want)}, {"x-snappy-framed", compressed(t, "framed", want)},
		{"gzip, zstd", compressed(t, "zstd", compressed(t, "gzip", want))},
	} {
		b, err := bodyOf(g, "a", tc.data, tc.encoding)
		if err != nil {
			t.Errorf("%q: %v", tc.encoding, err)
			continue
		}
		if !bytes.Equal(b.Data, want) {
			t.Errorf("%q: %d bytes are not what was sent", tc.encoding, len(b.Data))
		}
		b.Close()
	}
	for encoding := range codecs() {
		b, err := bodyOf(g, "a", nil, encoding)
		if err != nil || len(b.Data) != 0 {
			t.Fatalf("nothing as %s: %v", encoding, err)
		}
		b.Close()
		if _, err := bodyOf(g, "a", []byte("not compressed at all"), encoding); AsRefusal(err).Status != 400 {
			t.Errorf("no %s: %v", encoding, err)
		}
	}
	if _, err := bodyOf(g, "a", want, "br"); AsRefusal(err).Status != 415 {
		t.Errorf("brotli: %v", err)
	}
	idle(t, g)
}

// A body that grows without end is cut off at the limit, and the memory that it takes until then is held first.
func TestBombs(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	bomb := make([]byte, 100<<20)
	for _, tc := range []struct{ encoding, as string }{{"gzip", "gzip"}, {"deflate", "zlib"}, {"zstd", "zstd"}, {"snappy", "framed"}, {"snappy", "block"}} {
		t.Run(tc.as, func(t *testing.T) {
			t.Parallel()
			g := NewGate(Limits{Decoded: limit, Held: 24 << 20}, "test", nil)
			_, err := bodyOf(g, "a", compressed(t, tc.as, bomb), tc.encoding)
			if AsRefusal(err).Status != 413 {
				t.Errorf("%v", err)
			}
			idle(t, g)
		})
	}
	// A frame that says it needs a window of 2 GiB.
	g := NewGate(Limits{}, "test", nil)
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00}
	if _, err := bodyOf(g, "a", window, "zstd"); AsRefusal(err).Status != 400 {
		t.Errorf("a large window: %v", err)
	}
	// A block that says it is longer than what it holds can be.
	if _, err := bodyOf(g, "a", []byte{0xff, 0xff, 0xff, 0x1f, 1, 2}, "snappy"); err == nil {
		t.Error("a lie about the length is believed")
	}
	idle(t, g)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	g := NewGate(Limits{Received: 1 << 20, Held: 350 << 10, TenantHeld: 300 << 10, Working: 3, TenantWorking: 2}, "test", nil)
	refused := func(what, tenant string, size, status int, again bool) {
		t.Helper()
		_, err := bodyOf(g, tenant, make([]byte, size), "")
		if r := AsRefusal(err); err == nil || r.Status != status || (r.After > 0) != again {
			t.Errorf("%s: %v", what, err)
		}
	}
	var held []*Body
	take := func(tenant string, size int) {
		t.Helper()
		b, err := bodyOf(g, tenant, make([]byte, size), "")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, b)
	}
	refused("longer than allowed", "a", 1<<20+1, 413, false)
	refused("more than the tenant has", "a", 150<<10, 429, true)
	take("a", 60<<10)
	take("b", 60<<10)
	refused("more than there is", "c", 110<<10, 503, true)
	take("a", 10)
	refused("more requests than allowed", "b", 10, 503, true)
	work := func(bytes int64) error { return held[0].Work(t.Context(), bytes, func() error { return nil }) }
	if r := AsRefusal(work(1 << 20)); r.Status != 413 {
		t.Errorf("work with more than is ever had: %v", r)
	}
	if r := AsRefusal(work(230 << 10)); r.Status != 429 && r.Status != 503 || r.After == 0 {
		t.Errorf("work with more than there is now: %v", r)
	}
	if err := work(1 << 10); err != nil {
		t.Error(err)
	}
	held[1].Close()
	refused("more requests than the tenant has", "a", 10, 429, true)
	take("b", 10)
	for _, b := range held {
		b.Close()
		b.Close() // again is harmless
	}
	idle(t, g)
	take("a", 60<<10)
	held[len(held)-1].Close()
}

// serve runs a server that receives bodies and answers with their length.
func serve(t *testing.T, g *Gate) string {
	t.Helper()
	s, err := Listen(t.Context(), ServerConfig{
		Address: "127.0.0.1:0", Service: "test", Log: slog.New(slog.DiscardHandler),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := g.Receive(w, r, "a")
			if err != nil {
				refusal := AsRefusal(err)
				refusal.SetRetryAfter(w.Header())
				http.Error(w, refusal.Error(), refusal.Status)
				return
			}
			defer b.Close()
			fmt.Fprint(w, len(b.Data))
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String()
}

// Senders that are slow hold what they have sent and are cut off; others are served meanwhile.
func TestSlowSenders(t *testing.T) {
	t.Parallel()
	g := NewGate(Limits{Patience: 200 * time.Millisecond, Working: 1}, "test", nil)
	address := serve(t, g)
	const senders = 500
	var slow []net.Conn
	for range senders {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Post("http://"+address, "", strings.NewReader(strings.Repeat("x", 100000)))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if string(text) != "100000" {
		t.Errorf("meanwhile: %s %s", answer.Status, text)
	}
	for _, c := range slow {
		head := make([]byte, 12)
		if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 408" {
			t.Fatalf("a slow sender gets %q, %v", head, err)
		}
	}
	idleInTheEnd(t, g)
	if got := testutil.ToFloat64(g.metrics.refusedVisits.WithLabelValues("test", "slow")); got != senders {
		t.Errorf("%v slow senders counted", got)
	}
}

func idleInTheEnd(t *testing.T, g *Gate) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		g.mu.Lock()
		bodies := g.all
		g.mu.Unlock()
		if bodies == (share{}) {
			break
		}
	}
	idle(t, g)
}

// A connection stays good for the next request after a body that came in time.
func TestNextRequestOnAConnection(t *testing.T) {
	t.Parallel()
	g := NewGate(Limits{Patience: 5 * time.Second}, "test", nil)
	address := serve(t, g)
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		transport := new(http.Transport)
		if protocol == "HTTP/2.0" {
			transport.Protocols = new(http.Protocols)
			transport.Protocols.SetUnencryptedHTTP2(true)
		}
		client := &http.Client{Transport: transport}
		for n := range 5 {
			answer, err := client.Post("http://"+address, "", bytes.NewReader(make([]byte, n<<18)))
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if answer.Proto != protocol || string(text) != fmt.Sprint(n<<18) {
				t.Errorf("%s: %s %s", answer.Proto, answer.Status, text)
			}
		}
		transport.CloseIdleConnections()
	}
}

// FuzzDecode: whatever comes, the answer is a refusal of the sender or data within the limit, and nothing stays held.
func FuzzDecode(f *testing.F) {
	noise := make([]byte, 3000)
	_, _ = rand.Read(noise)
	for _, name := range []string{"gzip", "zlib", "zstd", "framed", "block"} {
		f.Add(name, compressed(f, name, noise))
	}
	const limit = 1 << 20
	g := NewGate(Limits{Decoded: limit}, "test", nil)
	names := map[string]string{"zlib": "deflate", "framed": "snappy", "block": "snappy"}
	f.Fuzz(func(t *testing.T, encoding string, data []byte) {
		if as, ok := names[encoding]; ok {
			encoding = as
		}
		b, err := bodyOf(g, "a", data, encoding)
		if err != nil {
			if r := AsRefusal(err); r.Status >= 500 || r.Status < 400 {
				t.Fatalf("%d %v", r.Status, r)
			}
		} else {
			if len(b.Data) > max(limit, len(data)) {
				t.Fatalf("%d bytes", len(b.Data))
			}
			b.Close()
		}
		idle(t, g)
	})
}
