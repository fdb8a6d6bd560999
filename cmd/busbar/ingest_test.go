// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// TestUpTakesOTLP sends a span to the all-in-one, and gets it back from there as a back end.
func TestUpTakesOTLP(t *testing.T) {
	t.Parallel()
	names := make(chan string, 10)
	backEnd := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			body, err = unzip(r.Header.Get("Content-Encoding"), body)
		}
		request := ptraceotlp.NewExportRequest()
		if err == nil {
			err = request.UnmarshalProto(body)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Error(r.URL.Path, err)
			return
		}
		names <- request.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Name()
	}))
	defer backEnd.Close()
	address := freeAddress(t)
	args := []string{
		"up", "--no-probe", "--data-dir", t.TempDir(), "--nats-listen", "off", "--prometheus", "off", "--admin", "off",
		"--otlp", backEnd.URL, "--log-level", "error", "--otlp-grpc-listen", "off", "--otlp-http-listen", address,
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, ended := tapWriter{make(chan []byte, 10)}, make(chan error, 1)
	go func() { ended <- program(ctx, args, noEnv, out, io.Discard) }()
	select {
	case summary := <-out.wrote:
		if !strings.Contains(string(summary), "OTLP/HTTP at "+address) || strings.Contains(string(summary), "OTLP/gRPC") {
			t.Errorf("summary:\n%s", summary)
		}
	case err := <-ended:
		t.Fatalf("up ended: %v", err)
	}
	traces := ptrace.NewTraces()
	traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("from an SDK")
	body, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post("http://"+address+"/v1/traces", "application/x-protobuf", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if got := <-names; got != "from an SDK" || answer.StatusCode != http.StatusOK {
		t.Errorf("%s: span %q", answer.Status, got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("up ends with %v", err)
	}
}

// A port that somebody else has is left out, and named, unless it was asked for; so is one that --otlp leads to.
func TestInletsThatCannotBe(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(nil)
	defer other.Close()
	taken, free := strings.TrimPrefix(other.URL, "http://"), freeAddress(t)
	for _, tc := range []struct {
		standard, asked, to string
		summary, err        string
	}{
		{taken, "", "", "not OTLP/gRPC (listen tcp " + taken + ": bind: address already in use)", ""},
		{taken, taken, "", "", "--otlp-grpc-listen: " + taken},
		{free, "", "grpc://localhost:" + strings.Split(free, ":")[1], "not OTLP/gRPC (--otlp sends there)", ""},
		{free, free, "http://" + free, "", "--otlp sends there"},
		{free, "here", "", "", `"here" is not an address`},
		{free, "off", "", "", ""},
		{free, "", "http://back-end:4318", "OTLP/gRPC at " + free, ""},
	} {
		in := inlets{
			otlpGRPC: inlet{name: "OTLP/gRPC", flag: "otlp-grpc-listen", standard: tc.standard, asked: tc.asked},
			otlpHTTP: inlet{asked: off},
		}
		err := in.open(t.Context(), tc.to)
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%+v: %v", tc, err)
		}
		if err == nil && in.summary() != tc.summary {
			t.Errorf("%+v: %s", tc, in.summary())
		}
		in.close()
	}
}
