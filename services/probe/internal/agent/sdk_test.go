// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

// post hands a client's exchange to the sink, which was answered with a status.
func post(sink kern.Sink, pid uint32, path string, status uint16) {
	e := &kern.Exchange{
		Role: kern.Client, RequestStart: 1, RequestEnd: 2, ResponseStart: 3, ResponseEnd: 4, Status: status, TGID: pid, TID: pid,
		TraceID: [16]byte{1}, SpanID: [8]byte{2},
	}
	e.SetAddrs(netip.MustParseAddrPort("127.0.0.1:40000"), netip.MustParseAddrPort("127.0.0.1:4318"))
	sink.Exchange(e, []byte("POST "+path+" HTTP/1.1\r\nHost: c:4318\r\n\r\n"), nil)
}

// TestAgentNoticesSDKs: a process is recognised by an export that got through, and the setting says what is left to it.
func TestAgentNoticesSDKs(t *testing.T) {
	t.Parallel()
	self, other := uint32(os.Getpid()), child(t)
	spec := func(sdk string) *sel.Selector {
		return selector(t, fmt.Sprintf("{select: [{pids: [%d, %d]}], sdk: %s}", self, other, sdk))
	}
	r := build(t, selector(t, fmt.Sprintf("{select: [{pids: [%d, %d]}]}", self, other)))
	step := func(path string) {
		r.kernel.give(func(s kern.Sink) { serve(s, self, 80, "GET "+path+" HTTP/1.1\r\n\r\n") })
	}
	r.kernel.give(func(s kern.Sink) {
		serve(s, self, 80, "GET /1 HTTP/1.1\r\n\r\n")
		post(s, self, "/v1/traces", 503)
		serve(s, self, 80, "GET /2 HTTP/1.1\r\n\r\n")
		post(s, self, "/v1/metrics", 200)
		serve(s, self, 80, "GET /3 HTTP/1.1\r\n\r\n")
		post(s, self, "/v1/traces", 200)
		serve(s, self, 80, "GET /4 HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /other HTTP/1.1\r\n\r\n")
		s.Process(&kern.Process{Event: kern.Fork, TGID: 1 << 28, Parent: self, Started: 7e9}, nil, nil, nil)
	})
	for path, setting := range map[string]string{"/off": "off", "/all": "all", "/spans": "spans"} {
		r.Select(spec(setting))
		r.kernel.give(func(kern.Sink) {}) // Idle puts it in force
		step(path)
	}
	r.Select(new(sel.Selector))
	r.kernel.give(func(kern.Sink) {})
	r.kernel.give(func(s kern.Sink) { serve(s, 1<<28, 80, "GET /child HTTP/1.1\r\n\r\n") })
	batches, events, _ := r.read(t)
	got := map[string]string{}
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			p := b.GetProcesses()[x.GetProcess()]
			got[x.GetHttp().GetPath()] = fmt.Sprint(p.GetExportsTraces(), p.GetExportsMetrics(), p.GetYield())
		}
	}
	const nothing, spans = "false false YIELD_UNSPECIFIED", "true true YIELD_SPANS"
	want := map[string]string{
		"/1": nothing, "/2": nothing, "/3": "false true YIELD_UNSPECIFIED", "/4": spans, "/other": nothing, "/child": nothing,
		"/off": "true true YIELD_UNSPECIFIED", "/all": "true true YIELD_ALL", "/spans": spans,
		"/v1/metrics": nothing, "/v1/traces": "false true YIELD_UNSPECIFIED",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what is known of the process of each exchange (-want +got):\n%s", d)
	}
	told := map[eventv1.Yield]bool{}
	for _, e := range events {
		if e.GetProcess().GetPid() == self && e.GetProcess().GetExportsTraces() {
			told[e.GetProcess().GetYield()] = true
			if e.GetKind() != eventv1.ProcessEvent_KIND_INSTRUMENTED {
				t.Errorf("event %v", e)
			}
		}
	}
	if len(told) != 3 || r.Status().Exporting != 1 {
		t.Errorf("events told %v, %d processes export", told, r.Status().Exporting)
	}
}

// dialRole makes the test binary a process that keeps a connection to an address.
const dialRole = "AGENT_TEST_DIAL"

func keepDialled(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.Copy(io.Discard, conn)
	return err
}

// TestAgentNoticesExportsByGRPC: of those nothing is seen but a connection to where the environment says.
func TestAgentNoticesExportsByGRPC(t *testing.T) {
	t.Parallel()
	collector, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer collector.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	address := collector.Addr().String()
	cmd.Env = append(os.Environ(), dialRole+"="+address, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := collector.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close(); _ = cmd.Wait() }()
	pid, other := uint32(cmd.Process.Pid), child(t)
	r := build(t, selector(t, fmt.Sprintf("{select: [{pids: [%d, %d]}]}", pid, other)))
	now := time.Now()
	r.kernel.give(func(s kern.Sink) {
		serve(s, pid, 80, "GET /before HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /other HTTP/1.1\r\n\r\n")
		r.lookAtDials(now)
	})
	bustest.Eventually(t, "the process is recognised", func() bool {
		r.kernel.give(func(kern.Sink) { r.publishStatus() })
		return r.Status().Exporting == 1
	})
	r.kernel.give(func(s kern.Sink) {
		serve(s, pid, 80, "GET /after HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /other HTTP/1.1\r\n\r\n")
		if r.lookAtDials(now.Add(time.Hour)); r.looking {
			t.Error("who was recognised is looked at again")
		}
	})
	batches, _, _ := r.read(t)
	got := map[string]eventv1.Yield{}
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			got[x.GetHttp().GetPath()] = b.GetProcesses()[x.GetProcess()].GetYield()
		}
	}
	if d := cmp.Diff(map[string]eventv1.Yield{"/before": 0, "/after": eventv1.Yield_YIELD_SPANS, "/other": 0}, got); d != "" {
		t.Errorf("what is left to the SDK (-want +got):\n%s", d)
	}
}
