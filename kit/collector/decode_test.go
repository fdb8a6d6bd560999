// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
)

// strange has all that configurations of components are made of.
type strange struct {
	Embedded `mapstructure:",squash"`
	Timeout  time.Duration                 `mapstructure:"timeout"`
	Headers  map[string]string             `mapstructure:"headers"`
	Parts    []part                        `mapstructure:"parts"`
	Maybe    configoptional.Optional[part] `mapstructure:"maybe"`
	ByName   map[string]*part              `mapstructure:"by_name"`
	Rest     struct {
		All map[string]any `mapstructure:",remain"`
	} `mapstructure:"rest"`
}

// Embedded decodes itself, after which the decoder passes unknown keys over.
type Embedded struct {
	Name string `mapstructure:"name"`
}

func (e *Embedded) Unmarshal(c *confmap.Conf) error {
	return c.Unmarshal(e, confmap.WithIgnoreUnused())
}

type part struct {
	Count int `mapstructure:"count"`
}

func (p part) Validate() error {
	if p.Count < 0 {
		return errors.New("count is negative")
	}
	return nil
}

func strangeFactory() exporter.Factory {
	return exporter.NewFactory(component.MustNewType("strange"), func() component.Config { return new(strange) })
}

// FuzzDecode holds that any settings give either a configuration or faults that have a reason.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"name": "a", "timeout": "1s", "headers": {"a.b": "c"}, "parts": [{"count": 1}], "maybe": {"enabled": true, "count": 2}, "rest": {"x": 1}}`,
		`{"nam": "a", "parts": [{"count": -1}, {"counts": 1}], "by_name": {"x": {"count": "y"}, "y": null}}`,
		`{"timeout": "soon", "maybe": {"enabled": "perhaps"}, "headers": {"a": 7}}`,
		`{"a b": {"": [null, {}]}, "": 1}`,
		`{"parts": {"count": 1}, "rest": []}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var settings map[string]any
		if json.NewDecoder(strings.NewReader(text)).Decode(&settings) != nil {
			return
		}
		cfg, faults := Decode(strangeFactory(), Rules{Fixed: map[string]any{"name": "fixed"}}, settings)
		if (cfg == nil) != (len(faults) > 0) {
			t.Errorf("configuration %v with faults %v", cfg, faults)
		}
		for _, fault := range faults {
			if fault.Reason == "" {
				t.Errorf("a fault at %q says nothing", fault.Path)
			}
		}
	})
}
