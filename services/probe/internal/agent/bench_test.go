// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"net/netip"
	"os"
	"testing"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

// discard confirms everything at once.
type discard struct{ bytes int }

func (d *discard) PublishAsync(m bus.Msg, done func(error)) error {
	d.bytes += len(m.Data)
	done(nil)
	return nil
}

// BenchmarkAgent is the way of an exchange from its record to a compressed message.
func BenchmarkAgent(b *testing.B) {
	var out discard
	a, err := New(testConfig(), newFakeKernel(), &out, new(sel.Selector))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.spool.run(ctx) }()
	e := &kern.Exchange{
		Role: kern.Server, Flags: kern.Keyed, RequestStart: 1, RequestEnd: 2, ResponseStart: 3, ResponseEnd: 4, Status: 200,
		TGID: uint32(os.Getpid()), TID: 7,
	}
	e.SetAddrs(netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("127.0.0.1:40000"))
	request := []byte("GET /api/v1/users/12345/orders?token=secret HTTP/1.1\r\nHost: shop.example:8080\r\nAccept: */*\r\n" +
		"Accept-Encoding: gzip, deflate\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nConnection: keep-alive\r\n\r\n")
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		e.RequestStart, e.RequestEnd, e.ResponseStart, e.ResponseEnd = n*9973, n*9973+71, n*9973+5003, n*9973+6007
		for i := range 8 { // ids look random
			e.TraceID[i], e.SpanID[i] = byte(n*0x9e3779b97f4a7c15>>(8*i)), byte(n*0xbf58476d1ce4e5b9>>(8*i))
		}
		a.Exchange(e, request, nil)
	}
	a.flush()
	cancel()
	<-done
	b.ReportMetric(float64(out.bytes)/float64(n), "wire-B/op")
}
