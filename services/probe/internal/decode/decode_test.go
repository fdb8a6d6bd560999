// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/busbar/busbar/contract"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/kern"
)

// record returns a server's exchange that has every field.
func record() *kern.Exchange {
	e := &kern.Exchange{
		Role: kern.Server, Flags: kern.Keyed, Context: kern.ContextHeader, TraceFlags: 1,
		RequestStart: 1000, RequestEnd: 1100, ResponseStart: 1500, ResponseEnd: 1700, RequestBytes: 90, ResponseBytes: 200,
		RequestHead: 80, ResponseHead: 100, Status: 404, TGID: 7, TID: 8, OpenerISN: 1, AcceptorISN: 2, RequestSeq: 3,
		TraceID: [16]byte{1, 15: 2}, SpanID: [8]byte{3}, ParentSpanID: [8]byte{4}, Wait: 4_000_000_000, TLS: kern.GoTLS,
	}
	e.SetAddrs(netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("10.0.0.9:40000"))
	return e
}

const head = "GET /users/7?token=secret#frag HTTP/1.1\r\nHost: u:p@shop:8080\r\nUser-Agent: curl/8\r\n\r\n"

// exchange returns what record and head become, with the clock at 5000.
func exchange() *eventv1.Exchange {
	return &eventv1.Exchange{
		Role: eventv1.Role_ROLE_SERVER, Outcome: eventv1.Outcome_OUTCOME_COMPLETE,
		StartUnixNano: 6000, RequestEndNano: 100, ResponseStartNano: 500, EndNano: 700,
		RequestBytes: 90, ResponseBytes: 200, RequestHeadBytes: 80, ResponseHeadBytes: 100,
		LocalPort: 8080, PeerAddress: 1, PeerPort: 40000, TraceId: append([]byte{1}, append(make([]byte, 14), 2)...),
		SpanId: []byte{3, 0, 0, 0, 0, 0, 0, 0}, ParentSpanId: []byte{4, 0, 0, 0, 0, 0, 0, 0}, TraceFlags: 1,
		WireKey: &eventv1.WireKey{OpenerIsn: 1, AcceptorIsn: 2, RequestSeq: 3}, Thread: 8,
		WaitNano: 4_000_000_000_000, TlsLibrary: eventv1.TlsLibrary_TLS_LIBRARY_GO,
		Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{
			Method: "GET", Path: "/users/7", Host: "shop:8080", Status: 404, MinorVersion: 1, UserAgent: "curl/8",
		}},
	}
}

// parameters are what the kernel captures of the same request by FastCGI.
const parameters = "\x01\x03GET\x02\x17/users/7?token=secret#f\x05\x0du:p@shop:8080\x06\x06curl/8"

// clientHello returns what a client sends first that asks for a name.
func clientHello(t testing.TB, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: name}).Handshake() //nolint:gosec,noctx // nobody answers
		client.Close()
	}()
	hello := make([]byte, 512)
	n, err := io.ReadAtLeast(server, hello, 200)
	if err != nil {
		t.Fatal(err)
	}
	return hello[:n]
}

// unmarshal decodes with the reference implementation, which is stricter than the generated one: it wants valid UTF-8. The exchanges
// must be encoded as the generated code would.
func unmarshal(t testing.TB, b *Batch) *eventv1.ExchangeBatch {
	t.Helper()
	counted := len(b.message) + b.tables
	data, err := b.Marshal(&eventv1.Origin{Node: "n", Run: "r", Sequence: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > counted+64 {
		t.Errorf("%d bytes, counted as %d", len(data), counted)
	}
	var m eventv1.ExchangeBatch
	if err := proto.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	again, err := (&eventv1.ExchangeBatch{Exchanges: m.GetExchanges()}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(data, again) {
		t.Errorf("exchanges are encoded as\n%x, not as generated code does:\n%x", data, again)
	}
	return &m
}

func TestBatch(t *testing.T) {
	t.Parallel()
	b := NewBatch()
	clock := Clock{offset: 5000}
	shop, caller := &eventv1.Process{Pid: 7, Command: "shop"}, &eventv1.Process{Pid: 9, Command: "caller"}
	for round := range 3 { // the storage is used again, and nothing of the last round may show
		var shopSlot, callerSlot Slot
		addBoth := func(e *kern.Exchange, request, response []byte, p *eventv1.Process, s *Slot) {
			t.Helper()
			if b.Add(e, request, response, p, s, clock) != Added {
				t.Fatalf("Add refused %q", request)
			}
		}
		add := func(e *kern.Exchange, request string, p *eventv1.Process, s *Slot) {
			t.Helper()
			addBoth(e, []byte(request), nil, p, s)
		}
		add(record(), head, shop, &shopSlot)
		bare := &kern.Exchange{Role: kern.Client, Flags: kern.NoResponse, RequestStart: 2000, TID: 9}
		bare.SetAddrs(netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:80"))
		add(bare, "POST /\xff", caller, &callerSlot)
		add(record(), head, shop, &shopSlot)

		e := record()
		e.Protocol, e.Flags, e.Error = kern.TLS, kern.Reset|kern.Keyed, uint16(unix.EPIPE)
		addBoth(e, clientHello(t, "shop.example"), nil, shop, &shopSlot)
		e = record()
		e.Protocol, e.Flags, e.Error = kern.FastCGI, kern.Reset|kern.Keyed, uint16(unix.EPIPE)
		e.SetPath("/run/php.sock")
		addBoth(e, []byte(parameters), []byte("Status: 201 Created\r\n\r\n"), shop, &shopSlot)

		reset := func(change func(x *eventv1.Exchange)) *eventv1.Exchange {
			x := exchange()
			x.Outcome, x.Abort = eventv1.Outcome_OUTCOME_RESET, eventv1.Abort_ABORT_BROKEN_PIPE
			change(x)
			return x
		}
		encrypted := reset(func(x *eventv1.Exchange) {
			x.Protocol = &eventv1.Exchange_Encrypted{Encrypted: &eventv1.Encrypted{ServerName: "shop.example"}}
		})
		fastCGI := reset(func(x *eventv1.Exchange) {
			x.PeerAddress, x.UnixPath = 0, "/run/php.sock"
			x.LocalPort, x.PeerPort = 8080, 40000
			x.GetHttp().Status, x.GetHttp().Fastcgi = 201, true
		})
		client := &eventv1.Exchange{
			Process: 1, Role: eventv1.Role_ROLE_CLIENT, Outcome: eventv1.Outcome_OUTCOME_NO_RESPONSE, StartUnixNano: 7000,
			LocalAddress: 2, LocalPort: 1, PeerAddress: 3, PeerPort: 80, TraceId: make([]byte, 16), SpanId: make([]byte, 8), Thread: 9,
			Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{Method: "POST", Path: "/\uFFFD", MinorVersion: 1, PathTruncated: true}},
		}
		v6a, v6b := netip.MustParseAddr("2001:db8::1").As16(), netip.MustParseAddr("2001:db8::2").As16()
		want := &eventv1.ExchangeBatch{
			Origin:    &eventv1.Origin{Node: "n", Run: "r", Sequence: 1},
			Processes: []*eventv1.Process{shop, caller},
			Addresses: [][]byte{{127, 0, 0, 1}, {10, 0, 0, 9}, v6a[:], v6b[:]},
			Exchanges: []*eventv1.Exchange{exchange(), client, exchange(), encrypted, fastCGI},
		}
		if d := cmp.Diff(want, unmarshal(t, b), protocmp.Transform()); d != "" {
			t.Errorf("round %d (-want +got):\n%s", round, d)
		}
		b.Reset()
	}
}

func TestAddLeavesOut(t *testing.T) {
	t.Parallel()
	b := NewBatch()
	for request, want := range map[string]Result{
		"\x16\x03\x01": Unparsed,
		"POST /v1/traces HTTP/1.1\r\nHost: tempo:4318\r\nUser-Agent: " + contract.UserAgent + "v1\r\n\r\n": Own,
	} {
		if got := b.Add(record(), []byte(request), nil, &eventv1.Process{}, new(Slot), Clock{}); got != want || b.Len() != 0 {
			t.Errorf("%q gives %v, and %d exchanges are in the batch", request, got, b.Len())
		}
	}
}

// TestBatchStaysWithinTheBus fills a batch with the largest things there are.
func TestBatchStaysWithinTheBus(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 4<<10)
	b := NewBatch()
	for i := 0; !b.Full(); i++ {
		e := record()
		e.SetAddrs(netip.AddrPortFrom(netip.AddrFrom16([16]byte{byte(i), byte(i >> 8), 1}), 65535), netip.AddrPortFrom(netip.AddrFrom16([16]byte{byte(i), byte(i >> 8), 2}), 65535))
		p := &eventv1.Process{Executable: big, OtelServiceName: big, OtelResourceAttributes: big}
		request := fmt.Appendf(nil, "GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n", strings.Repeat("\xff", 400), big[:90])
		if b.Add(e, request, nil, p, new(Slot), Clock{}) != Added {
			t.Fatal("refused")
		}
	}
	if got := unmarshal(t, b); proto.Size(got) > 320<<10 {
		t.Errorf("a full batch has %d bytes", proto.Size(got))
	}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	cases := map[kern.Flags]eventv1.Outcome{
		0:                                          eventv1.Outcome_OUTCOME_COMPLETE,
		kern.Keyed | kern.UntilClose:               eventv1.Outcome_OUTCOME_COMPLETE,
		kern.ResponsePartial:                       eventv1.Outcome_OUTCOME_CLOSED,
		kern.ResponsePartial | kern.Pipelined:      eventv1.Outcome_OUTCOME_SUPERSEDED,
		kern.NoResponse | kern.RequestPartial:      eventv1.Outcome_OUTCOME_NO_RESPONSE,
		kern.Reset | kern.NoResponse:               eventv1.Outcome_OUTCOME_RESET,
		kern.Upgraded:                              eventv1.Outcome_OUTCOME_COMPLETE,
		kern.RequestCut | kern.ResponseCut:         eventv1.Outcome_OUTCOME_COMPLETE,
		kern.ResponsePartial | kern.Reset:          eventv1.Outcome_OUTCOME_RESET,
		kern.ResponsePartial | kern.Unframed:       eventv1.Outcome_OUTCOME_SUPERSEDED,
		kern.Unframed:                              eventv1.Outcome_OUTCOME_COMPLETE,
		kern.ResponsePartial | kern.RequestPartial: eventv1.Outcome_OUTCOME_CLOSED,
	}
	for flags, want := range cases {
		if got := outcome(flags); got != want {
			t.Errorf("outcome(%b) = %v, want %v", flags, got, want)
		}
	}
}

func TestAbort(t *testing.T) {
	t.Parallel()
	for errno, want := range map[unix.Errno]eventv1.Abort{
		0:                 eventv1.Abort_ABORT_LOCAL,
		unix.ECONNRESET:   eventv1.Abort_ABORT_PEER,
		unix.ETIMEDOUT:    eventv1.Abort_ABORT_TIMED_OUT,
		unix.EPIPE:        eventv1.Abort_ABORT_BROKEN_PIPE,
		unix.EHOSTUNREACH: eventv1.Abort_ABORT_UNREACHABLE,
		unix.ENETUNREACH:  eventv1.Abort_ABORT_UNREACHABLE,
		unix.ECONNABORTED: eventv1.Abort_ABORT_OTHER,
	} {
		if got := abort(kern.Reset, uint16(errno)); got != want {
			t.Errorf("abort(%v) = %v, want %v", errno, got, want)
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	a, err := Now()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Now()
	if err != nil {
		t.Fatal(err)
	}
	if d := int64(b.Unix(0) - a.Unix(0)); d < -1e9 || d > 1e9 {
		t.Errorf("two clocks are %d ns apart", d)
	}
}

// FuzzAdd holds that whatever the kernel captured becomes a valid message of the counted size without the query.
func FuzzAdd(f *testing.F) {
	f.Add([]byte(head), []byte("HTTP/1.1 200 OK\r\n"), uint16(0), uint8(kern.HTTP), uint8(0), "")
	f.Add([]byte(parameters), []byte("Status: 404 Not Found\r\n"), uint16(kern.Reset), uint8(kern.FastCGI), uint8(0), "/run/php.sock")
	f.Add(clientHello(f, "shop.example"), []byte{}, uint16(kern.NoResponse), uint8(kern.TLS), uint8(0), "")
	f.Add([]byte("GET /a%3Fb HTTP/1.1"), []byte{}, uint16(1), uint8(kern.HTTP), uint8(kern.GnuTLS), "@\xff")
	f.Fuzz(func(t *testing.T, request, response []byte, flags uint16, protocol, library uint8, path string) {
		b := NewBatch()
		e := record()
		e.Flags, e.Protocol, e.TLS, e.Error = kern.Flags(flags), kern.Protocol(protocol), kern.Library(library), flags
		if path != "" {
			e.SetPath(path)
		}
		request, response = request[:min(len(request), 512)], response[:min(len(response), 256)]
		if b.Add(e, request, response, &eventv1.Process{Pid: 7}, new(Slot), Clock{}) != Added {
			return
		}
		x := unmarshal(t, b).GetExchanges()[0]
		if h := x.GetHttp(); strings.ContainsAny(h.GetPath()+h.GetHost(), "?#") {
			t.Fatalf("%q gives path %q, host %q", request, h.GetPath(), h.GetHost())
		}
		if x.GetHttp() == nil && x.GetEncrypted() == nil {
			t.Fatalf("%q gives no protocol", request)
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	batch, slot, process, origin := NewBatch(), Slot{}, &eventv1.Process{Pid: 7, Command: "shop", Executable: "/usr/bin/shop"}, &eventv1.Origin{}
	e, request := record(), []byte(head)
	b.ReportAllocs()
	for b.Loop() {
		if batch.Full() {
			if _, err := batch.Marshal(origin); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
		batch.Add(e, request, nil, process, &slot, Clock{})
	}
}
