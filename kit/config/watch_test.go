// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/config"
)

// watched is a watcher at work in a synctest bubble.
type watched struct {
	t       *testing.T
	dir     string
	metrics *prometheus.Registry

	mu      sync.Mutex // guards what follows
	log     bytes.Buffer
	applied []string // names of each set that was applied, joined
}

// Write takes what the watcher logs.
func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *watched) apply(set *config.Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = append(w.applied, strings.Join(names(set), " "))
}

// logged returns what was logged since the start.
func (w *watched) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// watch starts a watcher of a folder that holds files, by name.
func watch(t *testing.T, files map[string]string, check func(*config.Set) config.Faults) *watched {
	w := &watched{t: t, dir: t.TempDir(), metrics: prometheus.NewRegistry()}
	for name, text := range files {
		write(t, w.path(name), text)
	}
	watcher := &config.Watcher{
		Paths:   []string{w.dir},
		Kinds:   testKinds(t),
		Check:   check,
		Apply:   w.apply,
		Log:     slog.New(slog.NewTextHandler(w, nil)),
		Metrics: w.metrics,
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- watcher.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return w
}

func (w *watched) path(name string) string { return filepath.Join(w.dir, name) }

// expect lets time pass and says what must have been applied since the start.
func (w *watched) expect(applied ...string) {
	w.t.Helper()
	<-time.After(3 * time.Second)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(applied, w.applied); diff != "" {
		w.t.Errorf("applied (-want +got):\n%s", diff)
	}
}

// count returns the value of a metric, by name and label value.
func (w *watched) count(name, label string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func TestWatchChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, map[string]string{"a.yaml": fmt.Sprintf(minimal, "a")}, nil)
		w.expect("a")

		write(t, w.path("b.yaml"), fmt.Sprintf(minimal, "b"))
		w.expect("a", "a b")

		write(t, w.path("b.yaml"), fmt.Sprintf(minimal, "b")) // the same bytes
		w.expect("a", "a b")

		if err := os.Remove(w.path("a.yaml")); err != nil {
			t.Fatal(err)
		}
		w.expect("a", "a b", "b")

		if got := w.count("busbar_config_reloads_total", "applied"); got != 2 {
			t.Errorf("%v reloads counted", got)
		}
	})
}

func TestWatchRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, map[string]string{"a.yaml": fmt.Sprintf(minimal, "a")}, func(set *config.Set) config.Faults {
			if r, ok := set.Get("Pipeline", "wrong"); ok {
				return config.Faults{r.Fault("spec", "wrong altogether")}
			}
			return nil
		})
		write(t, w.path("a.yaml"), "kind: [")
		w.expect("a")
		if log := w.logged(); strings.Count(log, "configuration refused") != 1 || !strings.Contains(log, "a.yaml:1:1: not YAML") {
			t.Errorf("logged %s", log)
		}
		if w.count("busbar_config_refused", "") != 1 {
			t.Error("not shown as refused")
		}

		write(t, w.path("a.yaml"), fmt.Sprintf(minimal, "wrong"))
		w.expect("a")
		if log := w.logged(); !strings.Contains(log, "wrong altogether") {
			t.Errorf("logged %s", log)
		}

		write(t, w.path("a.yaml"), fmt.Sprintf(minimal, "better"))
		w.expect("a", "better")
		if w.count("busbar_config_refused", "") != 0 || w.count("busbar_config_reloads_total", "refused") != 2 {
			t.Error("refusals are miscounted")
		}

		if err := os.Rename(w.dir, w.dir+".away"); err != nil {
			t.Fatal(err)
		}
		w.expect("a", "better")
		if err := os.Rename(w.dir+".away", w.dir); err != nil {
			t.Fatal(err)
		}
		w.expect("a", "better", "better")
	})
}

// Of two services in one process, one refuses what the other takes.
func TestRefusalIsNotHiddenByOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, map[string]string{"a.yaml": fmt.Sprintf(minimal, "a")}, func(set *config.Set) config.Faults {
			if r, ok := set.Get("Pipeline", "wrong"); ok {
				return config.Faults{r.Fault("spec", "wrong altogether")}
			}
			return nil
		})
		other := &config.Watcher{
			Paths: []string{w.dir}, Kinds: testKinds(t), Apply: func(*config.Set) {}, Log: slog.New(slog.DiscardHandler), Metrics: w.metrics,
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- other.Run(ctx) }()
		synctest.Wait()
		write(t, w.path("a.yaml"), fmt.Sprintf(minimal, "wrong"))
		w.expect("a")
		if n := w.count("busbar_config_refused", ""); n != 1 {
			t.Errorf("%v refuse, want 1", n)
		}
		write(t, w.path("a.yaml"), fmt.Sprintf(minimal, "better"))
		w.expect("a", "better")
		if n := w.count("busbar_config_refused", ""); n != 0 {
			t.Errorf("%v refuse, want none", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWatchConfigMap swaps a folder as the kubelet does: the files are links through ..data, which is renamed over.
func TestWatchConfigMap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, nil, nil)
		publish := func(version, name string) {
			if err := os.Mkdir(w.path(version), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(w.path(version), "p.yaml"), fmt.Sprintf(minimal, name))
			if err := os.Symlink(version, w.path("..tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(w.path("..tmp"), w.path("..data")); err != nil {
				t.Fatal(err)
			}
		}
		publish("..v1", "one")
		if err := os.Symlink("..data/p.yaml", w.path("p.yaml")); err != nil {
			t.Fatal(err)
		}
		w.expect("", "one")
		publish("..v2", "two")
		w.expect("", "one", "two")
	})
}

func TestWatchReferencedFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		secret := filepath.Join(t.TempDir(), "token")
		text := fmt.Sprintf(minimal, "a") + "spec: {match: 'x ${file:" + secret + "}'}\n"
		w := watch(t, map[string]string{"a.yaml": text}, nil)
		w.expect("a")
		write(t, secret, "1")
		w.expect("a", "a")
		write(t, secret, "2")
		w.expect("a", "a", "a")
		if err := os.Remove(secret); err != nil {
			t.Fatal(err)
		}
		w.expect("a", "a", "a")
		write(t, secret, "2")
		w.expect("a", "a", "a")
		write(t, secret, "3")
		w.expect("a", "a", "a", "a")
	})
}

// TestWatchRefusedForSecret has a change refused because the secret it needs is not there yet.
func TestWatchRefusedForSecret(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		secret := filepath.Join(t.TempDir(), "token")
		w := watch(t, map[string]string{"a.yaml": fmt.Sprintf(minimal, "a")}, func(set *config.Set) config.Faults {
			for _, file := range set.Files() {
				if _, err := config.Expand("${file:" + file + "}"); err != nil {
					return config.Faults{{Reason: err.Error()}}
				}
			}
			return nil
		})
		write(t, w.path("b.yaml"), fmt.Sprintf(minimal, "b")+"spec: {match: '${file:"+secret+"}'}\n")
		w.expect("a")
		write(t, secret, "1")
		w.expect("a", "a b")
	})
}

func TestWatchStartsOnlyWell(t *testing.T) {
	t.Parallel()
	apply := func(*config.Set) { t.Error("applied") }
	err := config.Watch(t.Context(), []string{t.TempDir() + "/none"}, testKinds(t), nil, apply)
	if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("got %v", err)
	}
	refuse := func(*config.Set) config.Faults { return config.Faults{{Reason: "no"}} }
	if err := config.Watch(t.Context(), nil, testKinds(t), refuse, apply); err == nil || err.Error() != "no" {
		t.Errorf("got %v", err)
	}
}
