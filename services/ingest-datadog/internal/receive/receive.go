// SPDX-License-Identifier: Apache-2.0

// Package receive is the HTTP side: it takes the requests of Agents, tracers and API clients, has them read and mapped, and answers
// each as its client needs it, so that agents do not repeat for ever and tracers do not fall silent. Success is said after
// what was made of a request is stored.
package receive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/ingest"
	"github.com/busbar/busbar/kit/metric"
	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/mapping"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
	"github.com/busbar/busbar/services/ingest-datadog/internal/report"
)

// Config is what a Receiver works with. All is required but Forward.
type Config struct {
	Intake  *ingest.Intake
	Mapper  *mapping.Mapper
	Root    subject.Root
	Service string // name on the bus
	Report  *report.Report
	Drops   *metric.Drops
	// Statsd takes a packet of DogStatsD that came over HTTP.
	Statsd     func(tenant string, packet []byte)
	StatsdPort int
	Forward    Forwarder // nil: nobody
	Log        *slog.Logger
}

// Forwarder sends requests on as they came. Send must not block, nor keep body.
type Forwarder interface {
	Send(r *http.Request, tracer bool, body []byte)
}

// Receiver is a http.Handler.
type Receiver struct {
	Config
	info  []byte
	state string
	// room is for what bodies unfold to while they are read and mapped, in bytes.
	room *semaphore.Weighted
}

const (
	// mostRoom bounds what all requests together unfold to; one that needs more has it for itself.
	mostRoom = 64 << 20
	// unfold is how many times its size a body takes while it is worked on, as far as is planned for.
	unfold = 6
	// mostOutput bounds what one request becomes, in bytes for each signal.
	mostOutput = 48 << 20
)

// New returns a Receiver.
func New(cfg Config) *Receiver {
	r := &Receiver{Config: cfg, room: semaphore.NewWeighted(mostRoom)}
	r.info, r.state = describe(cfg.StatsdPort)
	return r
}

// ServeHTTP takes a request.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := find(r.URL.Path)
	status := http.StatusInternalServerError
	defer func() {
		if v := recover(); v != nil {
			rc.Log.Error("request cannot be handled", "route", at.name, "panic", v, "stack", string(debug.Stack()))
			status = rc.refuse(w, at, ingest.Refuse(http.StatusBadRequest, "panic", "the body cannot be handled"))
		}
		rc.Intake.Counter.Count(at.name, status)
	}()
	err := rc.take(w, r, at)
	if err != nil {
		status = rc.refuse(w, at, ingest.AsRefusal(err))
		return
	}
	status = rc.succeed(w, r, at)
}

// take does everything with a request but answer it.
func (rc *Receiver) take(w http.ResponseWriter, r *http.Request, at route) error {
	tenant, err := rc.tenant(r, at)
	if err != nil {
		return err
	}
	req := &request{Receiver: rc, Request: r, route: at, tenant: tenant}
	rc.Report.Client(req.client(), at.name)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if at.limit == 0 && rc.Forward == nil {
		return rc.discard(w, r, at)
	}
	body, err := rc.Intake.Gate.Receive(w, r, tenant)
	if err != nil {
		return err
	}
	defer body.Close()
	if rc.Forward != nil {
		rc.Forward.Send(r, at.tracer, body.Data)
	}
	if at.limit == 0 {
		return at.handle(req, nil)
	}
	if err := body.Decode(r.Context(), encoding(r)); err != nil {
		return err
	}
	if int64(len(body.Data)) > at.limit {
		return ingest.Refuse(http.StatusRequestEntityTooLarge, "too_long", "the body is longer than %d bytes", at.limit)
	}
	return rc.work(req, body.Data)
}

// encoding is how the body is compressed; API clients have a name of their own for zstd.
func encoding(r *http.Request) string {
	return strings.ReplaceAll(r.Header.Get("Content-Encoding"), "zstd1", "zstd")
}

// work has a body handled as soon as there is room for what it unfolds to.
func (rc *Receiver) work(req *request, body []byte) error {
	weight := min(int64(len(body))*unfold, mostRoom)
	if err := rc.room.Acquire(req.Context(), weight); err != nil {
		return ingest.Refuse(http.StatusRequestTimeout, "gone", "the client did not wait")
	}
	defer rc.room.Release(weight)
	return req.route.handle(req, body)
}

// tenant is whose a request is. Tracers have no keys.
func (rc *Receiver) tenant(r *http.Request, at route) (string, error) {
	key := r.Header.Get("DD-Api-Key")
	if key == "" {
		key = r.URL.Query().Get("api_key")
	}
	if key == "" && at.key {
		key = strings.TrimPrefix(r.URL.Path, "/v1/input/")
	}
	if key == "" && (at.tracer || at.name == "health") {
		if rc.Intake.Tenants.Keys != nil {
			return rc.Intake.Tenants.Default, nil
		}
	}
	return rc.Intake.Tenants.Of(key, r.Header)
}

// discardTime is how long a body of no use may take to come.
const discardTime = 30 * time.Second

// discard reads a body of no use, for a client that is cut off would repeat it.
func (rc *Receiver) discard(w http.ResponseWriter, r *http.Request, at route) error {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(discardTime))
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, mostOthers)); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return ingest.Refuse(http.StatusRequestEntityTooLarge, "too_long", "the body is longer than %d bytes", mostOthers)
		}
		return ingest.Refuse(http.StatusBadRequest, "broken_off", "the body ends early: %w", err)
	}
	return at.handle(&request{Receiver: rc, Request: r, route: at}, nil)
}

// refuse answers why a request is not taken. The Agent drops what is answered with 400, 403 or 413 and repeats everything else.
func (rc *Receiver) refuse(w http.ResponseWriter, at route, why *ingest.Refusal) int {
	status := why.Status
	switch status {
	case http.StatusUnauthorized:
		status = http.StatusForbidden
	case http.StatusUnsupportedMediaType:
		status = http.StatusBadRequest
	}
	why.SetRetryAfter(w.Header())
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	text, _ := json.Marshal(why.Error()) // a string
	fmt.Fprintf(w, `{"status":"error","errors":[%s]}`, text)
	rc.Report.Refused(at.name, why.Reason)
	rc.Log.Debug("request refused", "route", at.name, "status", status, "error", why)
	return status
}

// succeed answers that all is well.
func (rc *Receiver) succeed(w http.ResponseWriter, r *http.Request, at route) int {
	a := at.answer
	if at.tracer {
		w.Header().Set("Datadog-Agent-Version", agentVersion)
		w.Header().Set("Datadog-Agent-State", rc.state)
	}
	switch {
	case at.name == "info":
		a.body = string(rc.info)
	case a.body == ratesBody:
		w.Header().Set("Datadog-Rates-Payload-Version", ratesVersion)
		if r.Header.Get("Datadog-Rates-Payload-Version") == ratesVersion {
			a.body = "{}"
		}
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, a.body)
	}
	return a.status
}

// store stores what was made of a body, and counts what could not be. Ids are of the body, so that what a client repeats is stored
// once.
func (q *request) store(out *mapping.Output, body []byte) error {
	all, err := out.Messages()
	if errors.Is(err, otlp.ErrTooMuch) {
		return tooMuch(err)
	}
	q.Report.Kept(all)
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\x00%s\x00", q.tenant, q.URL.Path)
	_, _ = sum.Write(body) // a hash takes all
	msgs := Messages(q.Root, q.tenant, q.Service, hex.EncodeToString(sum.Sum(nil)[:16]), all)
	if err := q.Intake.Sink.Put(q.Context(), msgs); err != nil {
		return err
	}
	for reason, n := range out.Dropped {
		q.Drops.Add(q.Service, reason, n)
		q.Report.Dropped(reason, n)
	}
	for reason, n := range out.Left {
		q.Report.Left(reason, n)
	}
	return nil
}

func tooMuch(err error) error {
	return ingest.Refuse(http.StatusRequestEntityTooLarge, "unfolds", "the body unfolds to too much: %w", err)
}

// Messages are what was made of a body, or of a window, as they go onto the bus. Their ids are made of id and of what each is about, so
// that those that are the same have the same; an empty id makes each a message of its own.
func Messages(root subject.Root, tenant, service, id string, all []otlp.Message) []bus.Msg {
	out := make([]bus.Msg, len(all))
	part := map[string]int{}
	for i, m := range all {
		to := root.OTLP(m.Signal, tenant, m.Namespace, m.Service)
		out[i] = bus.Msg{
			Subject: to, Items: m.Items, Data: m.Data,
			Header: map[string]string{subject.HeaderSchema: m.Signal.Schema(), subject.HeaderSource: service},
		}
		if id != "" {
			name := string(m.Signal) + "\x00" + m.Namespace + "\x00" + m.Service
			sum := sha256.Sum256([]byte(name))
			out[i].ID = id + "-" + hex.EncodeToString(sum[:8]) + "-" + strconv.Itoa(part[name])
			part[name]++
		}
	}
	return out
}

// malformed is the refusal of a body that cannot be read.
func malformed(err error) error {
	if errors.Is(err, decode.ErrUnfolds) {
		return tooMuch(err)
	}
	return ingest.Refuse(http.StatusBadRequest, "malformed", "%w", err)
}
