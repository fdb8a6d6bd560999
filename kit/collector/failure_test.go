// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestAttempt(t *testing.T) {
	t.Parallel()
	in := func(err error) *Failure {
		f, _ := errors.AsType[*Failure](attempt(t.Context(), time.Minute, func(context.Context) error { return err }))
		return f
	}
	if f := in(nil); f != nil {
		t.Errorf("no error became %v", f)
	}
	if f := in(consumererror.NewPermanent(errors.New("no"))); !f.Permanent || f.Error() != "Permanent error: no" {
		t.Errorf("%+v", f)
	}
	if f := in(errors.New("Throttle (1m30s), error: busy")); f.Permanent || f.After != 90*time.Second {
		t.Errorf("%+v", f)
	}
	if f := in(fmt.Errorf("export: %w", status.Error(codes.PermissionDenied, "no"))); f.Status.Code() != codes.PermissionDenied {
		t.Errorf("%+v", f)
	}
	if f := in(errors.New("plain")); f.Status != nil || f.Answer != nil || f.After != 0 {
		t.Errorf("%+v", f)
	}
	// Some exporters return nil when their time is up.
	err := attempt(t.Context(), time.Nanosecond, func(ctx context.Context) error { <-ctx.Done(); return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an attempt that ran out of time gave %v", err)
	}
}

// TestAnswersComeWithErrors holds that the worst answer of an attempt is known, and that the exporter can read it all the same.
func TestAnswersComeWithErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2*maxAnswer)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bad":
			http.Error(w, long, http.StatusBadRequest)
		case "/broken":
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(server.Close)
	wrap, err := middleware{}.GetHTTPRoundTripper(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	transport, err := wrap(t.Context(), server.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	try := func(paths ...string) *Failure {
		f, _ := errors.AsType[*Failure](attempt(t.Context(), time.Minute, func(ctx context.Context) error {
			for _, path := range paths {
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+path, nil)
				if err != nil {
					return err
				}
				response, err := transport.RoundTrip(r)
				if err != nil {
					return err
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if path == "/bad" && (err != nil || string(body) != long+"\n") {
					t.Errorf("the exporter reads %d bytes, error %v", len(body), err)
				}
			}
			return errors.New("request failed")
		}))
		return f
	}
	if f := try("/good", "/bad"); f.Answer == nil || f.Answer.Status != http.StatusBadRequest || len(f.Answer.Body) != maxAnswer {
		t.Errorf("%+v", f.Answer)
	}
	if f := try("/broken", "/bad"); f.Answer == nil || f.Answer.Status != http.StatusBadGateway {
		t.Errorf("%+v", f.Answer)
	}
	if f := try("/good"); f.Answer != nil {
		t.Errorf("%+v", f.Answer)
	}
}

func TestLogsComeAsSlog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	z := telemetry(log).Logger
	z.Debug("not this")
	z.With(zap.String("destination", "a")).Warn("slow", zap.Duration("took", time.Second), zap.Error(errors.New("no")))
	if want := "level=WARN msg=slow destination=a took=1s error=no\n"; out.String() != want {
		t.Errorf("logged %q, want %q", out.String(), want)
	}
}
