// SPDX-License-Identifier: Apache-2.0

// Package configv1 holds the resources that users declare.
package configv1

import "google.golang.org/protobuf/proto"

// Names of the kinds.
const (
	KindInstrumentation = "Instrumentation"
	KindRouteRules      = "RouteRules"
	KindTelemetry       = "Telemetry"
	KindPipeline        = "Pipeline"
	KindDestination     = "Destination"
)

// Kinds gives a fresh spec message for each kind. Every service loads all kinds, for users keep them in one place; it then
// looks at its own.
func Kinds() map[string]func() proto.Message {
	return map[string]func() proto.Message{
		KindInstrumentation: func() proto.Message { return new(Instrumentation) },
		KindRouteRules:      func() proto.Message { return new(RouteRules) },
		KindTelemetry:       func() proto.Message { return new(Telemetry) },
		KindPipeline:        func() proto.Message { return new(Pipeline) },
		KindDestination:     func() proto.Message { return new(Destination) },
	}
}
