// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"time"
)

const head = `# Reliability

Written by ` + "`make faults`" + ` on %s, %d processors, %s: nats-server, enricher, router, exporter and two back ends as processes of their own, %d messages
of %d records a second. Before each row everything starts anew. A kill is done %d times, at random, %v apart on average, and the program is started again at once; the back end is
away for %v; every other trouble lasts %v. What the bus has acknowledged must come to both back ends, whatever happens: of records *lost* there must be none. Records may
come *again* in a row that kills, at most 0.1 %%, and in no other: a message that the back end has and the exporter had not acknowledged when it was killed. So there
are as many for each kill as are being handed over at a time, and the more often the kills, the larger their part. *Counters* are delta
sums on the Prometheus pages of the exporters, scraped five times a second: none may ever go down, and they must come to what was acknowledged, exactly. The *delay* is that of the back end that nothing is the matter with: 99 of 100
records take no longer from their publication to their arrival, before the fault and while it lasts.

The clocks of who publishes are set five minutes forth and back, which times of spans and deltas show. Those of the services are not: the machine has
one clock for all who use it, time namespaces move only clocks that count from a start, and Go programs do not ask a library for the time.

| fault | acknowledged | delivered | dead letters | lost | again | counters | delay before | delay |
|---|---|---|---|---|---|---|---|---|
`

// page is the document.
func page(all []outcome, s settings) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, head, time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), s.rate, batch, s.rounds, s.gap, s.gone, s.spell)
	for _, o := range all {
		fmt.Fprintln(&b, o.line())
	}
	return b.Bytes()
}

// line is a row of the table.
func (o outcome) line() string {
	if o.skipped != "" {
		return fmt.Sprintf("| %s | not run: %s | | | | | | | |", o.name, o.skipped)
	}
	again := strconv.Itoa(o.repeated)
	if o.repeated > 0 {
		again += fmt.Sprintf(" (%.3f %%)", 100*float64(o.repeated)/float64(o.acknowledged))
	}
	delays := " | "
	if o.onePlace {
		delays = fmt.Sprintf("%v | %v", o.before.Round(time.Millisecond), o.after.Round(time.Millisecond))
	}
	counters := "exact"
	switch {
	case o.fell != nil:
		counters = "fell"
	case o.shown != o.counted:
		counters = fmt.Sprintf("%d of %d", o.shown, o.counted)
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %s | %s | %s |", o.name, o.acknowledged, o.delivered, o.dead, o.lost, again, counters, delays)
}
