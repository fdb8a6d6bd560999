// SPDX-License-Identifier: Apache-2.0

package metric_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/busbar/busbar/kit/metric"
)

func TestRegisterTwiceIsOneMetric(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	make1 := func() *prometheus.CounterVec {
		return metric.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x_total", Help: "X."}, []string{"a"}))
	}
	make1().WithLabelValues("1").Inc()
	make1().WithLabelValues("1").Inc()
	if got := testutil.ToFloat64(make1()); got != 2 {
		t.Errorf("counted %v, want 2", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("another metric of the same name was taken")
		}
	}()
	metric.Register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: "x_total", Help: "Y."}))
}

func TestDropsWithoutRegistry(t *testing.T) {
	t.Parallel()
	metric.NewDrops(nil).Add("stage", "reason", 1)
}
