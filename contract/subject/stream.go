// SPDX-License-Identifier: Apache-2.0

package subject

import (
	"strings"
	"time"
)

// Stream says how JetStream keeps a family of subjects. Retention is by limits, so that anyone may read a window again
// without disturbing the rest; when a limit is reached the oldest message goes.
type Stream struct {
	Name     string
	Subjects []string
	MaxBytes int64         // bytes on disk
	MaxAge   time.Duration // since the message was stored
	// Duplicates is the window in which a second message of the same Nats-Msg-Id is not stored.
	Duplicates time.Duration
	Replicas   int
	DiscardNew bool // refuse new messages instead of dropping the oldest
	// Metadata is what those who come later must know; nil leaves what there is. See the Meta constants.
	Metadata map[string]string
	// Given tells that somebody asked for these limits. Otherwise they are for a stream that is made, and one that exists keeps its own.
	Given      bool
	PerSubject int64 // messages kept on one subject, the newest; zero: no limit
}

// Keys of Stream.Metadata. A stream outlives the declaration of its destination, so what is to become of it is written there.
const (
	MetaDestination  = "busbar.destination"   // name of the destination
	MetaExporter     = "busbar.exporter"      // name of its exporter, such as otlp_http
	MetaOnRemove     = "busbar.on-remove"     // drain, keep or discard
	MetaDrainTimeout = "busbar.drain-timeout" // Go duration
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// duplicates covers the longest redelivery delay of a consumer several times over.
const duplicates = 2 * time.Minute

// RawStream keeps what probes publish: long enough to restart enrichers, short because it is large.
func (r Root) RawStream() Stream {
	return Stream{Name: r.stream("RAW"), Subjects: []string{string(r) + ".raw.>"}, MaxBytes: gib, MaxAge: 2 * time.Hour, Duplicates: duplicates, Replicas: 1}
}

// OTLPStream keeps OpenTelemetry data before routing: the window that can be replayed.
func (r Root) OTLPStream() Stream {
	return Stream{Name: r.stream("OTLP"), Subjects: []string{string(r) + ".otlp.>"}, MaxBytes: 2 * gib, MaxAge: 6 * time.Hour, Duplicates: duplicates, Replicas: 1}
}

// OutStream keeps what waits for one destination: as long as an outage of it may last.
func (r Root) OutStream(destination string) Stream {
	return Stream{
		Name: r.stream("OUT_" + Token(destination)), Subjects: []string{string(r) + ".out." + Token(destination) + ".>"},
		MaxBytes: 2 * gib, MaxAge: 24 * time.Hour, Duplicates: duplicates, Replicas: 1,
	}
}

// StateStream keeps what the exporters of a destination have to know of each other and of its past: the newest message on each
// subject, without a limit of age. Dropping one would be forgetting a part, so it refuses when full.
func (r Root) StateStream(destination string) Stream {
	return Stream{
		Name: r.stream("STATE_" + Token(destination)), Subjects: []string{string(r) + ".state." + Token(destination) + ".>"},
		MaxBytes: 512 * mib, Duplicates: duplicates, Replicas: 1, DiscardNew: true, PerSubject: 1,
	}
}

// KubeStream keeps what the cluster says about itself: the newest message on each subject, without a limit of age. The watcher removes what
// is gone. Dropping one would leave a pod without its name, so it refuses when full.
func (r Root) KubeStream() Stream {
	return Stream{
		Name: r.stream("KUBE"), Subjects: []string{string(r) + ".kube.>"},
		MaxBytes: 512 * mib, Duplicates: duplicates, Replicas: 1, DiscardNew: true, PerSubject: 1,
	}
}

// RouteStream keeps what enrichers have learned about the paths of services: the newest message on each subject. Shapes in use are
// written anew long before their age is over; when it is full the one goes that was not for longest.
func (r Root) RouteStream() Stream {
	return Stream{
		Name: r.stream("ROUTE"), Subjects: []string{string(r) + ".route.>"},
		MaxBytes: 64 * mib, MaxAge: 30 * 24 * time.Hour, Duplicates: duplicates, Replicas: 1, PerSubject: 1,
	}
}

// DeadStream keeps what could not be processed, for a person to look at.
func (r Root) DeadStream() Stream {
	return Stream{Name: r.stream("DEAD"), Subjects: []string{string(r) + ".dead.>"}, MaxBytes: 256 * mib, MaxAge: 7 * 24 * time.Hour, Duplicates: duplicates, Replicas: 1}
}

// stream names a stream: the root in capitals, '_', the family. Stream names allow what tokens allow.
func (r Root) stream(family string) string { return strings.ToUpper(Token(string(r))) + "_" + family }
