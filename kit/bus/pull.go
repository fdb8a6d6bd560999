// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	pullExpires   = 30 * time.Second // the server ends a request that is not filled by then
	pullHeartbeat = 5 * time.Second  // the server says that an idle request is alive
	pullPause     = time.Second      // after a request was refused
	pullOverhead  = 64 << 10         // headers and subjects beside the largest payload
)

// puller asks a consumer for messages, with one request at a time: the next is sent when at least half of the prefetch is
// free, so workers are busy with one half while the other is on its way.
type puller struct {
	nc      *nats.Conn
	subject string // of requests
	inbox   string
	batch   int  // messages a request may ask for at most
	lost    bool // no consumer answers; found ends it

	number   uint64 // of the last request; ends its reply subject, so that answers to older ones can be told apart
	open     int    // messages the last request may still bring
	got      int    // messages it has brought
	heard    time.Time
	deadline time.Time // when a silent end of the last request is assumed
	pause    time.Time // no request before
}

type pullRequest struct {
	Batch     int           `json:"batch"`
	MaxBytes  int           `json:"max_bytes"`
	Expires   time.Duration `json:"expires"`
	Heartbeat time.Duration `json:"idle_heartbeat"`
}

func newPuller(nc *nats.Conn, inbox string, spec ConsumerSpec) puller {
	return puller{
		nc:      nc,
		subject: "$JS.API.CONSUMER.MSG.NEXT." + spec.Stream + "." + spec.Durable,
		inbox:   inbox + ".",
		batch:   spec.Prefetch,
	}
}

// request asks for messages if that is due and there is room for free messages of together bytes. A request must have room
// for the largest message possible, or it could never be filled; an empty hand always has.
func (p *puller) request(free, bytes int) {
	largest := int(p.nc.MaxPayload()) + pullOverhead
	if free == p.batch {
		bytes = max(bytes, largest)
	}
	if p.lost || p.open > 0 || 2*free < p.batch || bytes < largest || time.Now().Before(p.pause) || !p.nc.IsConnected() {
		return
	}
	body, err := json.Marshal(pullRequest{Batch: free, MaxBytes: bytes, Expires: pullExpires, Heartbeat: pullHeartbeat})
	if err != nil {
		return // cannot happen
	}
	p.number++
	if p.nc.PublishRequest(p.subject, p.inbox+strconv.FormatUint(p.number, 36), body) != nil {
		p.pause = time.Now().Add(pullPause)
		return
	}
	p.open, p.got = free, 0
	p.heard = time.Now()
	p.deadline = p.heard.Add(pullExpires + pullHeartbeat)
}

// arrived counts a message.
func (p *puller) arrived() {
	p.heard = time.Now()
	p.open = max(p.open-1, 0)
	p.got++
}

// found resumes after the consumer was made sure of; requests made before are void.
func (p *puller) found() {
	p.lost, p.open, p.pause = false, 0, time.Time{}
}

// check gives up on a request of which nothing is heard any more.
func (p *puller) check() {
	if p.open > 0 && (time.Since(p.heard) > 3*pullHeartbeat || time.Now().After(p.deadline)) {
		p.open = 0
	}
}

// status takes in m if it is a status and tells whether it was. A status is sent to the reply subject of the request it
// belongs to; a message keeps the subject it was stored under.
func (p *puller) status(m *nats.Msg) bool {
	number, ok := strings.CutPrefix(m.Subject, p.inbox)
	if !ok {
		return false
	}
	if number != strconv.FormatUint(p.number, 36) {
		return true // of a request that is void
	}
	p.heard = time.Now()
	switch code, text := m.Header.Get("Status"), m.Header.Get("Description"); {
	case code == "100": // heartbeat
	case code == "404", code == "408": // no messages, expired
		p.open = 0
	case code == "503", code == "409" && strings.EqualFold(text, "Consumer Deleted"):
		p.open, p.lost = 0, true
	default: // filled by bytes; leader changed; or refused for a reason that may last
		if p.open = 0; p.got == 0 {
			p.pause = time.Now().Add(pullPause)
		}
	}
	return true
}
