// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/klauspost/compress/s2"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/probe/internal/decode"
)

// outbox numbers, encodes and addresses what the agent publishes. A number is used up even if its message is lost later.
type outbox struct {
	cfg             Config
	spool           *spool
	losses          *losses
	exchangeSeq     uint64
	processSeq      uint64
	exchangeSubject string
	processSubject  string
	packed          []byte // used again for each message
	unsent          bool   // the spool has something that it was not told to send
}

func newOutbox(cfg Config, s *spool, l *losses) outbox {
	return outbox{cfg: cfg, spool: s, losses: l, exchangeSubject: cfg.Root.RawExchange(cfg.Node), processSubject: cfg.Root.RawProcess(cfg.Node)}
}

// exchanges sends a batch. The caller resets it.
func (o *outbox) exchanges(b *decode.Batch) error {
	o.exchangeSeq++
	raw, err := b.Marshal(o.origin(o.exchangeSeq))
	if err != nil {
		return fmt.Errorf("encode exchanges: %w", err)
	}
	o.send(raw, o.exchangeSubject, subject.SchemaExchanges, o.id("", o.exchangeSeq), b.Len())
	return nil
}

// processes sends what became of processes, and what they use.
func (o *outbox) processes(m *eventv1.ProcessBatch) error {
	o.processSeq++
	m.Origin = o.origin(o.processSeq)
	raw, err := m.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode processes: %w", err)
	}
	o.send(raw, o.processSubject, subject.SchemaProcesses, o.id("process/", o.processSeq), len(m.GetEvents())+len(m.GetSamples()))
	return nil
}

func (o *outbox) origin(sequence uint64) *eventv1.Origin {
	return &eventv1.Origin{Node: o.cfg.Node, Run: o.cfg.Run, Sequence: sequence, Dropped: o.losses.snapshot(), Host: o.cfg.Host}
}

// id is "<node>/<run>/<sequence>", with the kind before the sequence where it is not an exchange: both kinds go into one stream.
func (o *outbox) id(kind string, sequence uint64) string {
	return o.cfg.Node + "/" + o.cfg.Run + "/" + kind + strconv.FormatUint(sequence, 10)
}

// send compresses a message and gives a copy of its size to the spool, which may keep it for long.
func (o *outbox) send(raw []byte, to, schema, id string, items int) {
	m := bus.Msg{
		Subject: to, ID: id, Items: items, Encoding: bus.EncodingS2,
		Header: map[string]string{bus.HeaderSchema: schema, bus.HeaderSource: stage},
	}
	o.packed = s2.Encode(o.packed[:cap(o.packed)], raw)
	if m.Data = o.packed; len(o.packed) >= len(raw) {
		m.Data, m.Encoding = raw, bus.EncodingIdentity
	}
	m.Data = bytes.Clone(m.Data)
	o.spool.put(m)
	o.unsent = true
}
