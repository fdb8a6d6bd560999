// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/busbar/busbar/"

// home is the only place, besides tests, that may import a foreign API.
type home struct {
	imports string   // prefix of import paths
	rooms   []string // folders
	why     string
}

// homes keeps each foreign API in one place, so that changing to another one, or to its next version, is a local change.
func homes() []home {
	all := []home{
		{"github.com/nats-io/", []string{"kit/bus"}, "kit/bus owns the bus: delivery rules hold only if everybody goes through it"},
		{"github.com/cilium/ebpf", []string{"services/probe/internal/kern"}, "kern owns the kernel side: hooks, maps and records change together"},
		{"github.com/redis/", []string{"kit/store/redis"}, "kit/store owns what replicas share: callers know no server"},
		{"go.yaml.in/yaml", []string{"kit/config"}, "kit/config owns YAML: every fault has a position and unknown keys are refused"},
		{"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl", []string{"services/router/internal/ottl"}, "OTTL's API changes with every release: one package follows it"},
		{"google.golang.org/grpc", []string{"services/exporter/internal/otlp", "services/exporter/internal/dest", "services/ingest-otlp", "kit/collector"}, "only the exporter talks to back ends, and only ingest-otlp is talked to"},
		{"github.com/DataDog/", []string{"services/ingest-datadog"}, "only ingest-datadog knows Datadog's formats"},
		{"k8s.io/", []string{"services/enricher", "hack/lab/k8s"}, "only the enricher talks to Kubernetes"},
		{"go.opentelemetry.io/collector/pdata", []string{"services/enricher", "services/ingest-otlp", "services/router", "services/exporter", "cmd/busbar", "kit/collector"}, "probes and shared modules know no OTLP"},
		{module + "kit/collector", []string{"kit/collector", "services/router", "services/exporter"}, "hosted components are for the router and the exporter: others do not link them"},
		{"os/signal", []string{"kit/run", "hack/lab/k8s"}, "kit/run owns the life of a process"},
		{"os/exec", []string{"test"}, "Busbar starts no other program"},
	}
	for _, api := range []string{"component", "confmap", "consumer", "exporter", "extension", "pipeline", "processor"} {
		all = append(all, home{
			"go.opentelemetry.io/collector/" + api, []string{"kit/collector", "services/router/internal/ottl"},
			"kit/collector owns the component APIs: they change with every release",
		})
	}
	return all
}

// contractMay is what contract imports besides the standard library.
func contractMay() []string {
	return []string{module + "contract/", "google.golang.org/protobuf/", "github.com/planetscale/vtprotobuf/"}
}

// room returns the module folder of a file.
func room(file string) string {
	parts := strings.Split(file, "/")
	if (parts[0] == "services" || parts[0] == "cmd") && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// foreign reports whether an import is neither ours nor of the standard library.
func foreign(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return strings.Contains(first, ".")
}

// fault says why file must not import what it imports, or "".
func fault(file, imported string) string {
	own, test := room(file), strings.HasSuffix(file, "_test.go")
	to, ours := strings.CutPrefix(imported, module)
	switch target := room(to); {
	case own == "contract" && (ours || foreign(imported) && !test):
		if !slices.ContainsFunc(contractMay(), func(p string) bool { return strings.HasPrefix(imported, p) }) {
			return "contract is what the outside imports: it depends on the standard library and the protobuf runtime only"
		}
	case !ours || target == own:
	case own == "kit":
		return "kit moves bytes: it knows neither events nor services"
	case strings.HasPrefix(own, "services/") && target != "contract" && target != "kit":
		return "services meet on the bus: they import contract and kit, never each other"
	case own == "cmd/busbar" && target == "test":
		return "programs do not depend on tests"
	}
	generated := strings.HasSuffix(file, ".pb.go") || strings.Contains(path.Base(file), "_bpfel")
	if test || own == "test" || generated || strings.HasSuffix(path.Dir(file), "test") {
		return "" // tests drive foreign APIs from the other side
	}
	for _, h := range homes() {
		within := func(folder string) bool { return strings.HasPrefix(file, folder+"/") }
		if strings.HasPrefix(imported, h.imports) && !slices.ContainsFunc(h.rooms, within) {
			return h.why
		}
	}
	return ""
}

func TestImports(t *testing.T) {
	t.Parallel()
	for file, parsed := range goFiles(t) {
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why := fault(file, imported); why != "" {
				t.Errorf("%s imports %s: %s", file, imported, why)
			}
		}
	}
}

// The fence itself: each edge that must not be is refused, and its neighbour that may be is not.
func TestFence(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		file, imported string
		allowed        bool
	}{
		{"contract/subject/subject.go", "strings", true},
		{"contract/event/v1/event.pb.go", "google.golang.org/protobuf/proto", true},
		{"contract/subject/subject.go", module + "kit/bus", false},
		{"contract/subject/subject.go", "github.com/google/uuid", false},
		{"contract/subject/subject_test.go", "github.com/google/go-cmp/cmp", true},
		{"contract/subject/subject_test.go", module + "kit/bus", false},
		{"kit/bus/bus.go", "github.com/nats-io/nats.go", true},
		{"kit/bus/embedded/server.go", "github.com/nats-io/nats-server/v2/server", true},
		{"kit/store/store.go", "github.com/nats-io/nats.go", false},
		{"kit/store/redis/redis.go", "github.com/redis/go-redis/v9", true},
		{"services/router/router.go", "github.com/redis/go-redis/v9", false},
		{"kit/bus/bus.go", module + "contract/subject", false},
		{"kit/bus/bus_test.go", module + "services/router", false},
		{"services/router/router.go", module + "contract/subject", true},
		{"services/router/router.go", module + "services/router/internal/plan", true},
		{"services/router/router.go", module + "services/exporter", false},
		{"services/router/router_test.go", module + "services/exporter", false},
		{"services/router/router_test.go", "github.com/nats-io/nats.go", true},
		{"services/router/router.go", module + "kit/collector", true},
		{"services/router/router.go", "go.opentelemetry.io/collector/processor", false},
		{"services/enricher/enricher.go", module + "kit/collector/exporters", false},
		{"kit/collector/host.go", "go.opentelemetry.io/collector/component", true},
		{"services/probe/probe.go", "github.com/cilium/ebpf", false},
		{"services/probe/internal/kern/load.go", "github.com/cilium/ebpf", true},
		{"services/probe/agent.go", "go.opentelemetry.io/collector/pdata/ptrace", false},
		{"cmd/busbar/up.go", module + "services/probe", true},
		{"cmd/busbar/up.go", "os/signal", false},
		{"test/e2e/e2e_test.go", module + "services/probe", true},
	} {
		t.Run(fmt.Sprintf("%s imports %s", tc.file, path.Base(tc.imported)), func(t *testing.T) {
			t.Parallel()
			if why := fault(tc.file, tc.imported); (why == "") != tc.allowed {
				t.Errorf("%s imports %s: allowed is not %v (%q)", tc.file, tc.imported, tc.allowed, why)
			}
		})
	}
}
