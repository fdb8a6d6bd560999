// SPDX-License-Identifier: Apache-2.0

package decode_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/busbar/busbar/services/ingest-datadog/internal/capturetest"
	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
)

// fuzz feeds a decoder with captures and what grows from them. It must neither panic nor hang; what it returns must be readable.
func fuzz[T any](f *testing.F, read func([]byte) (T, error), look func(T), prefixes ...string) {
	f.Helper()
	for _, p := range prefixes {
		for _, c := range capturetest.All(f, testdata, p) {
			f.Add(c.Body)
			f.Add(c.Body[:len(c.Body)/2])
		}
	}
	f.Fuzz(func(_ *testing.T, body []byte) {
		v, err := read(body)
		if err == nil && look != nil {
			look(v)
		}
	})
}

func FuzzV04(f *testing.F)  { fuzz(f, decode.V04, nil, "go-v04", "node-v04", "gov1-v04") }
func FuzzV05(f *testing.F)  { fuzz(f, decode.V05, nil, "node-v05") }
func FuzzV07(f *testing.F)  { fuzz(f, decode.V07, nil, "go-v04") }
func FuzzV1(f *testing.F)   { fuzz(f, decode.V1, nil, "go-v10") }
func FuzzJSON(f *testing.F) { fuzz(f, decode.JSON, nil, "apijs-0001") }

func FuzzAgentTraces(f *testing.F) { fuzz(f, decode.AgentTraces, nil, "agent-traces") }
func FuzzClientStats(f *testing.F) { fuzz(f, decode.ClientStats, nil, "go-v06", "node-v06") }
func FuzzAgentStats(f *testing.F)  { fuzz(f, decode.AgentStats, nil, "agent-stats") }
func FuzzSketch(f *testing.F)      { fuzz(f, decode.Sketch, nil, "agent-sketches") }
func FuzzSeriesV1(f *testing.F)    { fuzz(f, decode.SeriesV1, nil, "agent-series-v1", "apijs-0003") }
func FuzzSeriesV2(f *testing.F)    { fuzz(f, decode.SeriesV2, nil, "agent-series-v2") }
func FuzzSeriesJSON(f *testing.F)  { fuzz(f, decode.SeriesJSONV2, nil, "apijs-0001", "apijs-0002") }
func FuzzMetricsV3(f *testing.F)   { fuzz(f, decode.MetricsV3, nil, "agent-series-v3") }
func FuzzSketches(f *testing.F)    { fuzz(f, decode.Sketches, nil, "agent-sketches") }
func FuzzDistributions(f *testing.F) {
	fuzz(f, decode.Distributions, nil, "apijs-0004")
}
func FuzzIntake(f *testing.F) { fuzz(f, decode.ReadIntake, nil, "agent-intake") }
func FuzzChecks(f *testing.F) { fuzz(f, decode.Checks, nil, "agent-check", "apijs-0007") }
func FuzzEvent(f *testing.F)  { fuzz(f, decode.OneEvent, nil, "apijs-0006") }
func FuzzLogs(f *testing.F) {
	fuzz(f, func(b []byte) ([]decode.Log, error) { return decode.Logs(b, true) }, nil, "agent-logs", "apijs-0005")
}

// A few bytes that promise much are refused before anything is made room for.
func TestLengthsThatLie(t *testing.T) {
	t.Parallel()
	for name, body := range map[string][]byte{
		"array of millions":    {0xdd, 0x01, 0x7d, 0x78, 0x40},
		"map of millions":      {0x91, 0x91, 0xdf, 0x01, 0x7d, 0x78, 0x40},
		"string of a gigabyte": {0x91, 0x91, 0x81, 0xdb, 0x40, 0, 0, 0, 'a'},
		"truncated":            {0x91, 0x91, 0x82, 0xa4, 'n', 'a', 'm', 'e'},
		"nested":               bytes.Repeat([]byte{0x91}, 1000),
		"never used":           {0xc1},
	} {
		if _, err := decode.V04(body); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	spans := append([]byte{0x91, 0xdd, 0, 0x60, 0, 0}, bytes.Repeat([]byte{0x80}, 0x600000)...)
	if _, err := decode.V04(spans); !errors.Is(err, decode.ErrUnfolds) {
		t.Errorf("six million empty spans: %v", err)
	}
}
