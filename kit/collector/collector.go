// SPDX-License-Identifier: Apache-2.0

// Package collector hosts components of the OpenTelemetry Collector: it reads their settings, starts and stops them, carries
// what they log to slog, and tells what their errors say. It is the sole user of the Collector's component APIs, so that a new
// version of those is a change here.
//
// Which components there are is said by those who link them: packages exporters and processors hold the lists. A component is
// hosted without any queue or retry of its own, because what is acknowledged must not wait in memory. It runs without the
// Collector's extensions and with its self-observation off, but for the log.
package collector

import (
	"maps"
	"reflect"
	"slices"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
)

// Rules say what is different about a component here.
type Rules struct {
	Refused  map[string]string // settings that have no place here: why not, by key
	Defaults map[string]any    // in place of the component's own
	Fixed    map[string]any    // hold whatever is declared
}

// Decode reads settings as the component's documentation has them. The map is as YAML gives it: string keys, and whole numbers
// as integers. Either there are faults or a configuration, which passed the component's own validation.
func Decode(f component.Factory, rules Rules, settings map[string]any) (component.Config, []Fault) {
	if faults := rules.refuse(settings); faults != nil {
		return nil, faults
	}
	conf := confmap.NewFromStringMap(maps.Clone(rules.Defaults))
	for _, layer := range []map[string]any{settings, rules.Fixed} {
		if err := conf.Merge(confmap.NewFromStringMap(layer)); err != nil {
			return nil, []Fault{{Reason: err.Error()}}
		}
	}
	cfg := f.CreateDefaultConfig()
	faults := unknownKeys(reflect.TypeOf(cfg), settings, "")
	if err := conf.Unmarshal(cfg); err != nil {
		faults = append(faults, decodingFaults(err, "")...)
		if len(faults) == 0 {
			faults = []Fault{{Reason: err.Error()}}
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	if err := confmap.Validate(cfg); err != nil {
		return nil, validationFaults(err, reflect.TypeOf(cfg))
	}
	return cfg, nil
}

// refuse reports the settings that have no place here.
func (r Rules) refuse(settings map[string]any) []Fault {
	var faults []Fault
	for _, key := range slices.Sorted(maps.Keys(r.Refused)) {
		if _, ok := settings[key]; ok {
			faults = append(faults, Fault{Path: "." + key, Reason: r.Refused[key]})
		}
	}
	return faults
}
