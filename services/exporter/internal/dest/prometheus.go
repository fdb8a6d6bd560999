// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/busbar/busbar/services/exporter/internal/cumulative"
	"github.com/busbar/busbar/services/exporter/internal/prompage"
)

// Prometheus is the settings of a page for Prometheus to scrape, with the keys that the Collector documents and those about sums.
type Prometheus struct {
	Endpoint    string            `yaml:"endpoint"` // listen address, host:port
	Namespace   string            `yaml:"namespace"`
	ConstLabels map[string]string `yaml:"const_labels"`
	Expiration  time.Duration     `yaml:"metric_expiration"`
	Window      time.Duration     `yaml:"late_window"`
	MaxSeries   int               `yaml:"max_series"`

	Queue any `yaml:"sending_queue"`
	Retry any `yaml:"retry_on_failure"`
}

// NewPrometheus returns the defaults.
func NewPrometheus() *Prometheus {
	o := defaultSums()
	return &Prometheus{Expiration: o.Expiration, Window: o.Window, MaxSeries: o.MaxSeries}
}

func (p *Prometheus) into() any { return p }

func (p *Prometheus) check(at report) {
	checkPolicy(at, p.Queue, p.Retry)
	switch {
	case p.Endpoint == "":
		at(".endpoint", "missing: want the address to listen on, such as 0.0.0.0:9464")
	case !hasReference(p.Endpoint):
		if err := checkListen(p.Endpoint); err != nil {
			at(".endpoint", "%v", err)
		}
	}
	if p.Namespace != "" && !legalName(p.Namespace) {
		at(".namespace", "want letters, digits and '_', not beginning with a digit")
	}
	for _, name := range slices.Sorted(maps.Keys(p.ConstLabels)) {
		path := labelPath(name)
		switch {
		case !legalName(name) || strings.HasPrefix(name, "__"):
			at(path, "%q is no legal label name", name)
		case prompage.Reserved(name):
			at(path, "label %s says where a series comes from", name)
		}
	}
	checkSums(at, p.sums())
}

// sums says how deltas are added up.
func (p *Prometheus) sums() cumulative.Options {
	return cumulative.Options{Expiration: p.Expiration, Window: p.Window, MaxSeries: p.MaxSeries}
}

// checkListen checks the address of a listener.
func checkListen(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		if e, ok := errors.AsType[*net.AddrError](err); ok {
			err = errors.New(e.Err)
		}
		return fmt.Errorf("want host:port to listen on: %w", err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("want a port from 0 to 65535, got %q", port)
	}
	return nil
}

// legalName tells whether all versions of Prometheus take a name.
func legalName(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func (p *Prometheus) texts() map[string]string {
	texts := map[string]string{".endpoint": p.Endpoint}
	for name, value := range p.ConstLabels {
		texts[labelPath(name)] = value
	}
	return texts
}

func labelPath(name string) string { return fmt.Sprintf(".const_labels[%q]", name) }

func (p *Prometheus) resolved(texts map[string]string) exporter {
	c := *p
	c.Endpoint = texts[".endpoint"]
	c.ConstLabels = make(map[string]string, len(p.ConstLabels))
	for name := range p.ConstLabels {
		c.ConstLabels[name] = texts[labelPath(name)]
	}
	return &c
}

func (p *Prometheus) open(ctx context.Context, _ string, log *slog.Logger) (sink, error) {
	page, err := prompage.Listen(ctx, p.Endpoint, prompage.Options{
		Namespace: p.Namespace, ConstLabels: p.ConstLabels, Series: p.sums(),
	}, log)
	if err != nil {
		return nil, err
	}
	return &scraped{page}, nil
}
