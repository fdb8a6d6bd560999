// SPDX-License-Identifier: Apache-2.0

package wire

import "google.golang.org/protobuf/encoding/protowire"

// A request that is too long is cut between records. What is above a record, resource, scope, and of a data point its metric, is in
// every part that has some of what is below it.

// children is the number of the field that leads towards the records of a message; a metric has the one that it has.
func children(t message, number uint64) (next message, leads bool) {
	switch t {
	case tracesRequest, metricsRequest, logsRequest, gauge, sum, histogram, exponential, summary:
		leads = number == 1
	case resourceSpans, resourceMetrics, resourceLogs, scopeSpans, scopeMetrics, scopeLogs:
		leads = number == 2
	case metric:
		leads = number == 5 || number == 7 || 9 <= number && number <= 11
	default:
	}
	if !leads {
		return none, false
	}
	return schema[t][number].below, true
}

// frameBytes bounds what a message costs beside what is inside: its tag and its length.
const frameBytes = 6

// level is a message that is being written.
type level struct {
	tag  protowire.Number
	head []byte // what each part has of it: all but what leads to records
	body []byte
}

// cutter makes parts.
type cutter struct {
	root     message
	limit    int
	parts    []Part
	tooLarge int

	part   Part    // that is being made
	levels []level // of it, from the request inward
	size   int     // of it, no less than it will be
}

// service makes the parts of a group.
func (c *cutter) service(i int, g *group, request []byte) {
	c.part = Part{Namespace: g.namespace, Service: g.service, Group: i}
	if g.size <= c.limit {
		c.part.Data = request // all of it is of one service
		if g.size != len(request) {
			c.part.Data = join(g)
		}
		c.part.Items = g.records
		c.emit()
		return
	}
	c.levels, c.size = append(c.levels[:0], level{}), 0
	for _, r := range g.resources {
		c.add(c.root, 1, r.whole, r.inside)
	}
	c.flush()
}

func join(g *group) []byte {
	if len(g.resources) == 1 {
		return g.resources[0].whole
	}
	data := make([]byte, 0, g.size)
	for _, r := range g.resources {
		data = append(data, r.whole...)
	}
	return data
}

// add puts a field that leads to records, with all below it, into the part, and begins further ones as needed.
func (c *cutter) add(t message, number uint64, whole, inside []byte) {
	next, _ := children(t, number)
	records, _ := scan(inside, next, 0, len(inside), 0) // it was sound
	records += counts[next]
	if records == 0 {
		return
	}
	if c.fits(len(whole)) {
		c.append(whole, records)
		return
	}
	if counts[next] > 0 {
		if c.flush(); !c.fits(len(whole)) {
			c.tooLarge++
			return
		}
		c.append(whole, records)
		return
	}
	c.descend(next, number, inside, records)
}

// descend goes through what is inside a message that does not fit as a whole.
func (c *cutter) descend(t message, number uint64, inside []byte, records int) {
	l := level{tag: protowire.Number(number)} //nolint:gosec // a field of OTLP
	each(inside, func(n uint64, whole, _ []byte) bool {
		if _, leads := children(t, n); !leads {
			l.head = append(l.head, whole...)
		}
		return true
	})
	if !c.fits(frameBytes + len(l.head)) {
		if c.flush(); !c.fits(frameBytes + len(l.head)) {
			c.tooLarge += records
			return
		}
	}
	c.levels = append(c.levels, l)
	c.size += frameBytes + len(l.head)
	each(inside, func(n uint64, whole, inside []byte) bool {
		if _, leads := children(t, n); leads {
			c.add(t, n, whole, inside)
		}
		return true
	})
	c.close()
}

func (c *cutter) fits(bytes int) bool { return c.size+bytes <= c.limit }

func (c *cutter) append(whole []byte, records int) {
	l := &c.levels[len(c.levels)-1]
	l.body = append(l.body, whole...)
	c.size += len(whole)
	c.part.Items += records
}

// close ends the innermost message and puts it into the one around it, unless it has no records.
func (c *cutter) close() {
	n := len(c.levels) - 1
	l := c.levels[n]
	c.levels = c.levels[:n]
	if len(l.body) == 0 {
		c.size -= frameBytes + len(l.head)
		return
	}
	c.levels[n-1].body = l.appendTo(c.levels[n-1].body)
}

func (l *level) appendTo(b []byte) []byte {
	b = protowire.AppendTag(b, l.tag, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(l.head)+len(l.body)))
	return append(append(b, l.head...), l.body...)
}

// flush ends the part, and begins the next one inside the same messages.
func (c *cutter) flush() {
	var inner []byte
	for i := len(c.levels) - 1; i > 0; i-- {
		l := &c.levels[i]
		l.body = append(l.body, inner...)
		inner = nil
		if len(l.body) > 0 {
			inner = l.appendTo(nil)
		}
	}
	c.part.Data = append(c.levels[0].body, inner...)
	c.emit()
	c.part.Data, c.part.Items, c.size = nil, 0, 0
	for i := range c.levels {
		c.levels[i].body = nil
		if i > 0 {
			c.size += frameBytes + len(c.levels[i].head)
		}
	}
}

// emit takes the part as it is, if it has anything.
func (c *cutter) emit() {
	if c.part.Items > 0 {
		c.parts = append(c.parts, c.part)
		c.part.Chunk++
	}
}
