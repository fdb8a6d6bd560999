// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"net"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/exporter/internal/dest"
)

// Check reports what is wrong with the destinations of a set on this machine: settings, references that cannot be resolved
// here, and pages that would want the same address.
func Check(set *config.Set) config.Faults {
	faults := Config{}.check(set)
	for _, r := range set.Of(configv1.KindDestination) {
		if settings, bad := dest.Read(r); len(bad) == 0 {
			faults = append(faults, settings.References(r)...)
		}
	}
	return faults
}

// check is Check as a running process needs it: a secret that cannot be read now is the trouble of its destination alone.
func (c Config) check(set *config.Set) config.Faults {
	var faults config.Faults
	type page struct{ name, address string }
	var pages []page
	flags := make(map[string]bool)
	for _, d := range c.Destinations {
		flags[d.Name] = true
		if address := d.settings.Page(); address != "" {
			pages = append(pages, page{d.Name, address})
		}
	}
	for _, r := range set.Of(configv1.KindDestination) {
		settings, bad := dest.Read(r)
		faults = append(faults, bad...)
		retention(r, func(path, reason string) { faults = append(faults, r.Fault("spec."+path, "%s", reason)) })
		if flags[r.Name] {
			faults = append(faults, r.Fault("metadata.name", "a flag of this process has a destination %q already: choose another name", r.Name))
		}
		address := settings.Page()
		if len(bad) > 0 || address == "" {
			continue
		}
		for _, other := range pages {
			if overlap(address, other.address) {
				faults = append(faults, r.Fault("spec.prometheus.endpoint", "destination %q has its page on %s", other.name, other.address))
			}
		}
		pages = append(pages, page{r.Name, address})
	}
	return faults
}

// overlap tells whether one machine cannot listen on both addresses.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false // malformed or unknown, which is reported where it is found
	}
	all := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	return hostA == hostB || all(hostA) || all(hostB)
}
