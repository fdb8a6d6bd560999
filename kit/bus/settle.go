// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Answers to a delivery.
const (
	ackDone     = "+ACK"
	ackRefuse   = "-NAK" // deliver again, at once or after {"delay": nanoseconds}
	ackProgress = "+WPI"
	ackEnd      = "+TERM"
)

const (
	firstDelay     = 500 * time.Millisecond // after the first failure; doubles with each
	lastDelay      = 30 * time.Second
	minThrottle    = 100 * time.Millisecond // so that a zero does not spin
	maxThrottle    = time.Hour
	deadTimeout    = 10 * time.Second
	maxDeadError   = 512      // bytes of an error kept with a dead letter
	deadHeaderRoom = 4 << 10  // bytes that dead letters need for headers of ours
	maxDeadHeaders = 32 << 10 // bytes of headers that a dead letter keeps; a stream takes twice that, ours included

	// ReasonPanic is the reason of a dead letter whose handler panicked.
	ReasonPanic = "panic"
)

// handle calls the handler and turns a panic into a Permanent error: one message must not stop the others.
func (c *consumer) handle(ctx context.Context, d *Delivery) (err error) {
	defer func() {
		if v := recover(); v != nil {
			c.bus.log.Error("handler panicked", "consumer", c.spec.Durable, "subject", d.Subject, "panic", v, "stack", string(debug.Stack()))
			err = Permanent(ReasonPanic, fmt.Errorf("handler panicked: %v", v))
		}
	}()
	return c.fn(ctx, d)
}

// settle answers the delivery as the handler's result wants, and tells whether the message need not come again.
func (c *consumer) settle(ctx context.Context, d *Delivery, err error) bool {
	if err == nil {
		c.bus.answer(d, ackDone)
		c.countSettled(d, "acked")
		return true
	}
	if reason, ok := AsPermanent(err); ok {
		err = c.bury(ctx, d, reason, err)
		if err == nil {
			return true
		}
		err = fmt.Errorf("bury it as %s: %w", reason, err)
	}
	delay, outcome := backoff(d.Attempt-1, firstDelay, lastDelay), "retried"
	if wanted, ok := AsThrottled(err); ok {
		delay, outcome = min(max(wanted, minThrottle), maxThrottle), "throttled"
	}
	if later, ok := errors.AsType[*laterError](err); ok {
		delay, outcome = max(later.delay, minThrottle), "postponed"
	} else {
		c.retries.warn(c.bus.log, "message is retried", "consumer", c.spec.Durable, "subject", d.Subject, "attempt", d.Attempt, "delay", delay, "error", err)
	}
	c.bus.answer(d, ackRefuse+` {"delay": `+strconv.FormatInt(int64(delay), 10)+`}`)
	c.count(outcome)
	return false
}

// bury copies d to its dead-letter subject and ends its delivery. While the copy cannot be stored, it returns an error
// and d stays, unless no copy would ever fit: nothing may stay for ever.
func (c *consumer) bury(ctx context.Context, d *Delivery, reason string, cause error) error {
	outcome := "dropped"
	if c.spec.DeadSubject != nil {
		if subject := c.spec.DeadSubject(reason); subject != "" {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadTimeout)
			defer cancel()
			err := c.bus.Publish(ctx, c.letter(d, subject, reason, cause))
			switch {
			case err == nil:
				outcome = "dead"
				c.bus.metrics.dead.WithLabelValues(c.bus.name, d.Stream, c.spec.Durable, reason).Inc()
				c.bus.metrics.deadRecords.WithLabelValues(c.bus.name, d.Stream, c.spec.Durable, reason).Add(float64(d.Items()))
			case !errors.Is(err, ErrTooLarge):
				return err
			}
		}
	}
	if outcome == "dropped" {
		c.bus.metrics.drops.Add(c.spec.Stage, reason, d.Items())
	}
	c.burials.warn(c.bus.log, "message is given up", "consumer", c.spec.Durable, "subject", d.Subject, "reason", reason, "outcome", outcome, "error", cause)
	c.bus.answer(d, ackEnd+" "+reason)
	c.countSettled(d, outcome)
	return nil
}

// letter makes the copy. One that would exceed what the server takes, because of the headers it gains, is cut: the payload
// at its end, and headers as a whole.
func (c *consumer) letter(d *Delivery, subject, reason string, cause error) Msg {
	header, data := d.Headers(), d.Raw()
	if headerSize(header) > maxDeadHeaders {
		header = map[string]string{HeaderDeadTruncated: strconv.Itoa(len(data))}
	}
	header[HeaderDeadReason] = reason
	header[HeaderDeadError] = headerText(cause.Error())
	header[HeaderDeadOrigin] = fmt.Sprintf("%s:%d:%s", d.Stream, d.Sequence, d.Subject)
	header[HeaderDeadStage] = c.spec.Stage
	header[HeaderDeadStored] = d.Time.UTC().Format(time.RFC3339Nano)
	header[HeaderDeadAttempts] = strconv.Itoa(d.Attempt)
	if part := partOf(cause); part != "" {
		header[HeaderDeadPart] = headerText(part)
	}
	if id := d.Header(HeaderID); id != "" {
		header[HeaderDeadID] = headerText(id)
	}
	if room := max(int(c.bus.nc.MaxPayload())-headerSize(header)-deadHeaderRoom, 0); len(data) > room {
		header[HeaderDeadTruncated] = strconv.Itoa(len(data))
		data = data[:room]
	}
	return Msg{Subject: subject, ID: d.DerivedID("dead-" + c.spec.Durable), Header: header, Items: d.Items(), Data: data, Encoding: d.Encoding()}
}

// headerSize is what headers take on the wire.
func headerSize(header map[string]string) (size int) {
	for k, v := range header {
		size += len(k) + len(v) + len(": \r\n")
	}
	return size
}

// headerText makes s fit for a header: one line of valid UTF-8, not too long.
func headerText(s string) string {
	if len(s) > maxDeadError {
		s = s[:maxDeadError]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// answer tells the server what became of a delivery. While there is no connection the client keeps the answer and sends it
// after the reconnection; if it is lost nevertheless, the message is delivered again.
func (b *Bus) answer(d *Delivery, body string) {
	if err := b.nc.Publish(d.msg.Reply, []byte(body)); err != nil {
		b.log.Debug("answer is lost", "subject", d.Subject, "error", err)
	}
}
