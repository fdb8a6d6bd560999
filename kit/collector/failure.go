// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"google.golang.org/grpc/status"
)

// Failure is an attempt that failed, with what can be told from it. It is an error with the words of its cause.
type Failure struct {
	Err error
	// Permanent is the component's own view that no other attempt will do. Components say so of wrong passwords, too.
	Permanent bool
	Answer    *Answer        // of an HTTP back end; nil when there was none or it is not known
	Status    *status.Status // of a gRPC back end; nil as above
	After     time.Duration  // how long the back end asks to wait, when only the words of the error tell; else 0
}

// Error implements error.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// ErrSignal is the error of an exporter that does not take such data.
var ErrSignal = errors.New("the exporter does not take this signal")

// notes takes the answers to the requests of one attempt, which may be many.
type notes struct {
	mu      sync.Mutex
	answers []Answer // guarded by mu
}

// maxNotes bounds what one attempt may keep.
const maxNotes = 16

func (n *notes) add(a Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.answers) < maxNotes {
		n.answers = append(n.answers, a)
	}
}

// worst returns the answer that decides over a repetition: one after which it makes sense before one after which it does not,
// because what was sent together is repeated together.
func (n *notes) worst() *Answer {
	n.mu.Lock()
	defer n.mu.Unlock()
	var worst *Answer
	for i := range n.answers {
		if worst == nil || n.answers[i].Status > worst.Status {
			worst = &n.answers[i]
		}
	}
	return worst
}

// attempt calls export and judges how it went. Some exporters return nil when their time is up, so nil counts only while ctx
// lives.
func attempt(ctx context.Context, timeout time.Duration, export func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	seen := new(notes)
	err := export(context.WithValue(ctx, noteKey{}, seen))
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v: %w", timeout, ctx.Err())
	}
	if err == nil {
		return nil
	}
	f := &Failure{Err: err, Permanent: consumererror.IsPermanent(err), Answer: seen.worst(), After: throttle(err)}
	if s, ok := status.FromError(rpcCause(err)); ok {
		f.Status = s
	}
	return f
}

// rpcCause returns the error in a chain that carries a gRPC status, or err.
func rpcCause(err error) error {
	type rpc interface {
		error
		GRPCStatus() *status.Status
	}
	if e, ok := errors.AsType[rpc](err); ok {
		return e
	}
	return err
}

// throttleText is how the Collector's exporters word a delay that the back end asked for; its type is not exported.
var throttleText = regexp.MustCompile(`Throttle \(([0-9a-zµ.]+)\)`)

func throttle(err error) time.Duration {
	m := throttleText.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	d, _ := time.ParseDuration(m[1]) // 0 when it is none
	return d
}
