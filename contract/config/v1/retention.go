// SPDX-License-Identifier: Apache-2.0

package configv1

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/busbar/busbar/contract/subject"
)

// Removal is what becomes of the stream of a destination that is no longer declared.
type Removal string

// The removals.
const (
	Drain   Removal = "drain"   // what waits is delivered, within DrainTimeout, and the stream deleted
	Keep    Removal = "keep"    // the stream stays
	Discard Removal = "discard" // the stream is deleted with what waits
)

// Retention is how what waits for a destination is kept.
type Retention struct {
	MaxBytes     int64         // zero: as the table of streams says
	MaxAge       time.Duration // zero: as the table of streams says
	Replicas     int           // zero: as the table of streams says
	Concurrency  int           // attempts at the same time; zero: what suits the exporter
	OnRemove     Removal       // "": Keep, for a destination that nobody declares
	DrainTimeout time.Duration
	Exporter     string // name of the exporter
}

// Bounds of what can be asked for.
const (
	minBytes       = 4 << 20 // a few messages of the largest size
	minAge         = time.Minute
	maxReplicas    = 5
	MaxConcurrency = 256
	drainTimeout   = 10 * time.Minute
)

// Retention reads how the stream of the destination is to be kept. Report takes what is wrong with it, by path below spec.
func (d *Destination) Retention(report func(path, reason string)) Retention {
	q := d.GetQueue()
	r := Retention{Replicas: int(q.GetReplicas()), Concurrency: int(q.GetConcurrency()), OnRemove: d.removal(), DrainTimeout: drainTimeout, Exporter: d.exporter()}
	if text := q.GetMaxBytes(); text != "" {
		var err error
		if r.MaxBytes, err = ParseSize(text); err != nil {
			report("queue.maxBytes", err.Error())
		} else if r.MaxBytes < minBytes {
			report("queue.maxBytes", fmt.Sprintf("want at least 4MiB, got %s", text))
		}
	}
	if text := q.GetMaxAge(); text != "" {
		r.MaxAge = duration("queue.maxAge", text, minAge, report)
	}
	if text := d.GetDrainTimeout(); text != "" {
		r.DrainTimeout = duration("drainTimeout", text, 0, report)
	}
	if r.Replicas > maxReplicas {
		report("queue.replicas", fmt.Sprintf("want at most %d, got %d", maxReplicas, r.Replicas))
	}
	if r.Concurrency > MaxConcurrency {
		report("queue.concurrency", fmt.Sprintf("want at most %d, got %d", MaxConcurrency, r.Concurrency))
	}
	return r
}

func duration(path, text string, least time.Duration, report func(path, reason string)) time.Duration {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || d < 0:
		report(path, fmt.Sprintf("want a duration such as 90s or 24h, got %q", text))
	case d < least:
		report(path, fmt.Sprintf("want at least %v, got %v", least, d))
	}
	return d
}

func (d *Destination) removal() Removal {
	switch d.GetOnRemove() {
	case Destination_ON_REMOVE_KEEP:
		return Keep
	case Destination_ON_REMOVE_DISCARD:
		return Discard
	case Destination_ON_REMOVE_UNSPECIFIED, Destination_ON_REMOVE_DRAIN:
	}
	return Drain
}

// exporter is the key under which the settings of the exporter stand, "" if there are none.
func (d *Destination) exporter() string {
	m := d.ProtoReflect()
	if field := m.WhichOneof(m.Descriptor().Oneofs().ByName("exporter")); field != nil {
		return field.JSONName()
	}
	return ""
}

// Stream is the stream of the destination called name.
func (r Retention) Stream(root subject.Root, name string) subject.Stream {
	s := root.OutStream(name)
	if r.OnRemove == "" {
		return s
	}
	s.Given = true
	if r.MaxBytes > 0 {
		s.MaxBytes = r.MaxBytes
	}
	if r.MaxAge > 0 {
		s.MaxAge = r.MaxAge
	}
	s.Replicas = max(s.Replicas, r.Replicas)
	s.Metadata = map[string]string{
		subject.MetaDestination: name, subject.MetaExporter: r.Exporter,
		subject.MetaOnRemove: string(r.OnRemove), subject.MetaDrainTimeout: r.DrainTimeout.String(),
	}
	return s
}

// ParseSize reads a number of bytes with a unit: 4096, 512MiB, 20GB.
func ParseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "BKMGTi ")
	factor, known := sizes()[strings.TrimSpace(text[len(number):])]
	n, err := strconv.ParseFloat(number, 64)
	if bytes := n * float64(factor); known && err == nil && bytes >= 0 && bytes < 1<<62 {
		return int64(bytes), nil
	}
	return 0, fmt.Errorf("want a size such as 512MiB or 10GiB, got %q", text)
}

func sizes() map[string]int64 {
	return map[string]int64{
		"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}
}
