// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/DataDog/agent-payload/v5/gogen"
	"google.golang.org/protobuf/encoding/protowire"
)

var (
	errMapping = errors.New("sketch with a mapping that is not logarithmic")
	errBins    = errors.New("sketch with too many bins")
)

// Kind is the type of a series.
type Kind uint8

// The kinds, as the protobuf formats number them. What says nothing is a gauge.
const (
	Unspecified Kind = iota
	Count
	Rate
	Gauge
)

// Series is values of one metric and one set of tags.
type Series struct {
	Metric    string
	Kind      Kind
	Unit      string
	Interval  int64 // seconds
	Tags      []string
	Resources []Resource
	Source    string // source_type_name
	NoIndex   bool
	Points    []Point
}

// Resource is a thing that a series is of: its host, a device, a database.
type Resource struct{ Type, Name string }

// Point is a value at a time in nanoseconds since the epoch.
type Point struct {
	Time  uint64
	Value float64
}

// Nanoseconds is a time in seconds since the epoch; zero if it is not after it or too far ahead to be meant.
func Nanoseconds(seconds float64) uint64 {
	if !(seconds > 0 && seconds < 1<<33) {
		return 0
	}
	whole, fraction := math.Modf(seconds)
	return uint64(whole)*1e9 + uint64(fraction*1e9)
}

// seconds is Nanoseconds of a whole number.
func seconds(s int64) uint64 {
	if s <= 0 || s >= 1<<33 {
		return 0
	}
	return uint64(s) * 1e9
}

const (
	originType = 3 // number of the field of an origin
	hidden     = 9 // value of it for what is not to be indexed
)

// SeriesV2 reads the protobuf of /api/v2/series.
func SeriesV2(body []byte) (out []Series, err error) {
	defer guard(&err)
	var p gogen.MetricPayload
	if err := p.Unmarshal(body); err != nil {
		return nil, err
	}
	for _, s := range p.Series {
		if s == nil {
			continue
		}
		one := Series{
			Metric: s.Metric, Kind: kind(int64(s.Type)), Unit: s.Unit, Interval: s.Interval, Tags: s.Tags, Source: s.SourceTypeName,
			NoIndex: notIndexed(s.Metadata),
		}
		for _, r := range s.Resources {
			one.Resources = append(one.Resources, Resource{r.GetType(), r.GetName()})
		}
		for _, pt := range s.Points {
			one.Points = append(one.Points, Point{seconds(pt.GetTimestamp()), pt.GetValue()})
		}
		out = append(out, one)
	}
	return out, nil
}

// kind is a number that a format has for it; one that is not known is a gauge.
func kind(n int64) Kind {
	if n < 0 || n > int64(Gauge) {
		return Gauge
	}
	return Kind(n)
}

// SeriesJSONV2 reads the JSON of /api/v2/series.
func SeriesJSONV2(body []byte) ([]Series, error) {
	var p struct {
		Series []struct {
			Metric    string     `json:"metric"`
			Type      number     `json:"type"`
			Unit      string     `json:"unit"`
			Interval  number     `json:"interval"`
			Tags      []string   `json:"tags"`
			Resources []Resource `json:"resources"`
			Source    string     `json:"source_type_name"`
			Points    []struct {
				Timestamp number `json:"timestamp"`
				Value     number `json:"value"`
			} `json:"points"`
		} `json:"series"`
	}
	if err := decodeJSON(body, &p); err != nil {
		return nil, err
	}
	out := make([]Series, 0, len(p.Series))
	for _, s := range p.Series {
		one := Series{
			Metric: s.Metric, Kind: kind(int64(s.Type)), Unit: s.Unit, Interval: int64(s.Interval), Tags: s.Tags,
			Resources: s.Resources, Source: s.Source,
		}
		for _, pt := range s.Points {
			one.Points = append(one.Points, Point{Nanoseconds(float64(pt.Timestamp)), float64(pt.Value)})
		}
		out = append(out, one)
	}
	return out, nil
}

// SeriesV1 reads /api/v1/series.
func SeriesV1(body []byte) ([]Series, error) {
	var p struct {
		Series []struct {
			Metric   string      `json:"metric"`
			Type     string      `json:"type"`
			Unit     string      `json:"unit"`
			Interval number      `json:"interval"`
			Tags     []string    `json:"tags"`
			Host     string      `json:"host"`
			Device   string      `json:"device"`
			Source   string      `json:"source_type_name"`
			Points   [][2]number `json:"points"`
		} `json:"series"`
	}
	if err := decodeJSON(body, &p); err != nil {
		return nil, err
	}
	out := make([]Series, 0, len(p.Series))
	for _, s := range p.Series {
		one := Series{Metric: s.Metric, Kind: kindWord(s.Type), Unit: s.Unit, Interval: int64(s.Interval), Tags: s.Tags, Source: s.Source}
		if s.Host != "" {
			one.Resources = append(one.Resources, Resource{"host", s.Host})
		}
		if s.Device != "" {
			one.Resources = append(one.Resources, Resource{"device", s.Device})
		}
		for _, pt := range s.Points {
			one.Points = append(one.Points, Point{Nanoseconds(float64(pt[0])), float64(pt[1])})
		}
		out = append(out, one)
	}
	return out, nil
}

func kindWord(w string) Kind {
	switch w {
	case "count", "counter":
		return Count
	case "rate":
		return Rate
	case "gauge":
		return Gauge
	}
	return Unspecified
}

// Distribution is raw values of one metric and one set of tags.
type Distribution struct {
	Metric, Host string
	Tags         []string
	Points       []Values
}

// Values are values at a time in nanoseconds since the epoch.
type Values struct {
	Time   uint64
	Values []float64
}

// Distributions reads /api/v1/distribution_points.
func Distributions(body []byte) ([]Distribution, error) {
	var p struct {
		Series []struct {
			Metric string               `json:"metric"`
			Host   string               `json:"host"`
			Tags   []string             `json:"tags"`
			Points [][2]json.RawMessage `json:"points"`
		} `json:"series"`
	}
	if err := decodeJSON(body, &p); err != nil {
		return nil, err
	}
	out := make([]Distribution, 0, len(p.Series))
	for i, s := range p.Series {
		one := Distribution{Metric: s.Metric, Host: s.Host, Tags: s.Tags}
		for j, pt := range s.Points {
			var at number
			var values []number
			if err := errors.Join(json.Unmarshal(pt[0], &at), json.Unmarshal(pt[1], &values)); err != nil {
				return nil, fmt.Errorf("series[%d].points[%d]: want [time, [value, ...]]: %w", i, j, err)
			}
			v := Values{Time: Nanoseconds(float64(at))}
			for _, x := range values {
				v.Values = append(v.Values, float64(x))
			}
			one.Points = append(one.Points, v)
		}
		out = append(out, one)
	}
	return out, nil
}

// number is a number that may be written as a string.
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	b = bytes.Trim(b, `"`)
	if string(b) == "null" || len(b) == 0 {
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	*n = number(f)
	return err
}

// decodeJSON decodes a JSON document. The error says at which byte.
func decodeJSON(body []byte, into any) (err error) {
	defer guard(&err)
	err = json.Unmarshal(body, into)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("JSON: byte %d: %w", syntax.Offset, err)
	}
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("JSON: byte %d: %s: is %s", mistyped.Offset, mistyped.Field, mistyped.Value)
	}
	return err
}

// notIndexed tells whether the origin of a series says so, in a field that the format has reserved since.
func notIndexed(m *gogen.Metadata) bool {
	var rest []byte
	if o := m.GetOrigin(); o != nil {
		rest = o.XXX_unrecognized
	}
	for len(rest) > 0 {
		field, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return false
		}
		if v, size := protowire.ConsumeVarint(rest[protowire.SizeTag(field):]); field == originType && size > 0 && v == hidden {
			return true
		}
		rest = rest[n:]
	}
	return false
}
