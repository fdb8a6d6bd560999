// SPDX-License-Identifier: Apache-2.0

// Package exporters lists the exporters of the OpenTelemetry Collector that are hosted. Importing it links them all.
package exporters

import (
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/clickhouseexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/kafkaexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusremotewriteexporter"
	"go.opentelemetry.io/collector/exporter/debugexporter"

	"github.com/busbar/busbar/kit/collector"
)

// Why settings are refused.
const (
	ownQueue   = "the stream is the queue: it keeps on disk what waits for this destination; remove it"
	ownRetry   = "the stream is the queue: a message is repeated until the destination takes it; remove it"
	noExtender = "there are no extensions here"
)

// off disables what has a switch.
func off() map[string]any { return map[string]any{"enabled": false} }

// ClickHouse writes to tables of ClickHouse.
func ClickHouse() collector.ExporterKind {
	return collector.ExporterKind{
		Factory: clickhouseexporter.NewFactory(),
		Rules: collector.Rules{
			Refused: map[string]string{"sending_queue": ownQueue, "retry_on_failure": ownRetry},
			Fixed:   map[string]any{"sending_queue": off(), "retry_on_failure": off()},
		},
	}
}

// Debug prints what it gets, by default to standard output as the Collector does.
func Debug() collector.ExporterKind {
	return collector.ExporterKind{
		Factory: debugexporter.NewFactory(),
		Rules: collector.Rules{
			Refused:  map[string]string{"sending_queue": ownQueue},
			Defaults: map[string]any{"use_internal_logger": false},
		},
	}
}

// Kafka produces to topics of Kafka.
func Kafka() collector.ExporterKind {
	return collector.ExporterKind{
		Factory: kafkaexporter.NewFactory(),
		Rules: collector.Rules{
			Refused: map[string]string{"sending_queue": ownQueue, "retry_on_failure": ownRetry},
			Fixed:   map[string]any{"sending_queue": off(), "retry_on_failure": off()},
		},
	}
}

// PrometheusRemoteWrite sends cumulative metrics by Prometheus remote write.
func PrometheusRemoteWrite() collector.ExporterKind {
	return collector.ExporterKind{
		Factory: prometheusremotewriteexporter.NewFactory(),
		Rules: collector.Rules{
			Refused: map[string]string{
				"remote_write_queue": ownQueue, "sending_queue": ownQueue, "retry_on_failure": ownRetry, "wal": ownQueue,
				"auth": noExtender + ": write the credentials as headers", "middlewares": noExtender,
			},
			Fixed: map[string]any{
				"remote_write_queue": off(), "retry_on_failure": off(), "middlewares": collector.Witness(),
				// It returns nil when its own time is up between two requests. Ours, around it, tells.
				"timeout": "0s",
			},
		},
	}
}
