// SPDX-License-Identifier: Apache-2.0

// Package processors lists the processors of the OpenTelemetry Collector that are hosted. Importing it links them all.
package processors

import (
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/attributesprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/filterprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/metricstransformprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/probabilisticsamplerprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/redactionprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/resourceprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"

	"github.com/busbar/busbar/kit/collector"
)

// Kinds returns the processors by the names that the Collector has for them, older ones included.
func Kinds() map[string]collector.ProcessorKind {
	metricsTransform := collector.ProcessorKind{Factory: metricstransformprocessor.NewFactory()}
	return map[string]collector.ProcessorKind{
		"attributes":            {Factory: attributesprocessor.NewFactory()},
		"filter":                {Factory: filterprocessor.NewFactory()},
		"metrics_transform":     metricsTransform,
		"metricstransform":      metricsTransform,
		"probabilistic_sampler": {Factory: probabilisticsamplerprocessor.NewFactory()},
		"redaction":             {Factory: redactionprocessor.NewFactory()},
		"resource":              {Factory: resourceprocessor.NewFactory()},
		"transform":             {Factory: transformprocessor.NewFactory()},
	}
}
