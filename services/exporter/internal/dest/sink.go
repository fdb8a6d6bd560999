// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/busbar/busbar/services/exporter/internal/cumulative"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
	"github.com/busbar/busbar/services/exporter/internal/prompage"
)

// sink is a back end: a taker or an accumulator.
type sink interface {
	// run does what the sink needs until ctx ends, when it lets go of everything. An error says that it works no more.
	run(ctx context.Context) error
}

// taker is a back end that messages can be handed to, by several goroutines.
type taker interface {
	sink
	// take makes one attempt. It returns how many records inside were left out, by reason; its errors are as those of package otlp.
	take(ctx context.Context, r otlp.Request, items int) (left map[string]int, err error)
	// workers is how many attempts may run at the same time.
	workers() int
}

// Reasons for which records are left out, besides those of package cumulative.
const (
	reasonRejected = "rejected" // the back end took the rest of their message
	reasonSignal   = "signal"   // Prometheus has no place for traces and logs
	reasonExpired  = "expired"  // the stream had to drop them before the destination took them
)

// sender is implemented by otlp.HTTP and otlp.GRPC.
type sender interface {
	Send(ctx context.Context, r otlp.Request) (otlp.Rejected, error)
	Close()
}

// forward sends messages on as they are.
type forward struct {
	sender sender
	log    *slog.Logger

	mu     sync.Mutex
	logged time.Time // when a rejection was last logged; guarded by mu
}

// sendWorkers keeps 80 requests per second going through a round trip of a tenth of a second.
const sendWorkers = 8

func (f *forward) workers() int { return sendWorkers }

func (f *forward) take(ctx context.Context, r otlp.Request, _ int) (map[string]int, error) {
	rejected, err := f.sender.Send(ctx, r)
	if err != nil || rejected.Records == 0 {
		return nil, err
	}
	f.warn(rejected)
	return map[string]int{reasonRejected: int(rejected.Records)}, nil
}

// warn logs what the back end says about records it rejects, once a minute: the rest is counted.
func (f *forward) warn(r otlp.Rejected) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.logged) >= time.Minute {
		f.logged = now
		f.log.Warn("destination rejects records", "records", r.Records, "message", r.Message)
	}
}

func (f *forward) run(ctx context.Context) error {
	<-ctx.Done()
	f.sender.Close()
	return nil
}

// scraped keeps metrics for Prometheus to fetch.
type scraped struct{ page *prompage.Page }

func (s *scraped) series() *cumulative.State { return s.page.State() }

func (*scraped) write() func(context.Context, pmetric.Metrics) error { return nil }

func (s *scraped) run(ctx context.Context) error { return s.page.Serve(ctx) }
