// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/signals"
)

// info says, with each batch, which processes and hosts spans come from: gauges that are 1, for joins.
func info() family {
	return family{name: "info", on: func(s *signals.Settings) bool { return s.Info }, append: appendInfo}
}

func appendInfo(e *Encoder, b []byte, from *block) ([]byte, int) {
	p, points := from.process, 1
	b = e.appendGauge(b, "traces_target_info", "Attributes of the processes that have spans.", from.last, p.info)
	if len(p.host) > 0 {
		b = e.appendGauge(b, "traces_host_info", "Hosts of the processes that have spans.", from.last, p.host)
		points++
	}
	return b, points
}

// appendGauge appends a gauge that is 1.
func (e *Encoder) appendGauge(b []byte, name, description string, at uint64, attributes []byte) []byte {
	e.points = appendFixed64(e.points[:0], pointTime, at)
	e.points = appendFixed64(e.points, numberInt, 1)
	e.points = append(e.points, attributes...)
	gauge := fieldSize(len(e.points))
	b = appendHead(b, scopeRecords, fieldSize(len(name))+fieldSize(len(description))+fieldSize(gauge))
	b = appendField(b, metricName, name)
	b = appendField(b, metricDescription, description)
	b = appendHead(b, metricGauge, gauge)
	return appendField(b, dataPoints, e.points)
}

// description is what all metrics of a process share.
type description struct {
	resource                []byte // encoded Resource
	info, host              []byte // attributes of traces_target_info, and of traces_host_info
	kubeNamespace, language string
}

// maxDescriptions bounds the descriptions at hand, besides those of identities; some 3 KiB each.
const maxDescriptions = 2048

// describe returns what is said about a process under some settings.
func (e *Encoder) describe(id *ident.Known, settings *signals.Settings) *description {
	k := described{id, settings}
	d := e.descriptions[k]
	if d != nil {
		return d
	}
	if len(e.descriptions) == maxDescriptions {
		clear(e.descriptions)
	}
	d = &description{
		resource: id.Resource, kubeNamespace: ident.Value(id.Attributes, "k8s.namespace.name"), language: ident.Value(id.Attributes, "telemetry.sdk.language"),
	}
	attributes := id.Attributes
	if settings.Beyla {
		attributes = ident.As("beyla", attributes)
		d.resource = Resource(attributes)
	}
	if settings.Info {
		d.info, d.host = infoOf(attributes, settings)
	}
	e.descriptions[k] = d
	return d
}

type described struct {
	known    *ident.Known
	settings *signals.Settings
}

// infoOf encodes the attributes of traces_target_info, and of traces_host_info, which has none if the host is not known. The
// names by which back ends know the resource anyway are left out.
func infoOf(attributes []ident.Attribute, settings *signals.Settings) (target, host []byte) {
	const t = numberAttributes
	hostKey := "host.id"
	if settings.Beyla {
		hostKey = "grafana.host.id"
	}
	for _, a := range attributes {
		switch a.Key {
		case "service.name", "service.namespace", "service.instance.id":
			continue
		case "host.name":
			if host == nil {
				host = appendText(nil, t, hostKey, a.Text)
			}
		case "host.id":
			host = appendText(nil, t, hostKey, a.Text)
		}
		target = appendAttribute(target, t, a)
	}
	return appendText(target, t, "source", settings.Source), host
}
