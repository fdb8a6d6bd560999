// SPDX-License-Identifier: Apache-2.0

// Package metric holds the two habits every Busbar metric follows: registering twice is harmless, because several
// services may share one registry in one process, and every record dropped is counted in one family, by stage and reason.
package metric

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Register adds c to reg and returns it, or returns the equal collector that reg already has. A nil reg leaves c
// unregistered: it counts, and nobody reads it. It panics, as MustRegister does, when reg has a different metric of the
// same name, which is a mistake in the program.
func Register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	if err != nil {
		panic(err)
	}
	return c
}

// Drops counts the records that Busbar lost or left out, as busbar_dropped_records_total{stage,reason}. Stage is the name of
// a service or of a part of one, reason a short constant of the program: neither may come from user data.
type Drops struct {
	records *prometheus.CounterVec
}

// NewDrops returns the counter of reg, making it on first use.
func NewDrops(reg prometheus.Registerer) *Drops {
	return &Drops{records: Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "busbar_dropped_records_total",
		Help: "Records that were lost or left out, by the stage that lost them and the reason.",
	}, []string{"stage", "reason"}))}
}

// Add counts n records; n below one counts nothing.
func (d *Drops) Add(stage, reason string, n int) {
	if n > 0 {
		d.records.WithLabelValues(stage, reason).Add(float64(n))
	}
}
