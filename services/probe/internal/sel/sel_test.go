// SPDX-License-Identifier: Apache-2.0

package sel_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

// resources makes a set of one document per spec.
func resources(t *testing.T, specs ...string) *config.Set {
	t.Helper()
	var b strings.Builder
	for i, spec := range specs {
		b.WriteString("---\napiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: r" + string(rune('a'+i)) + "}\nspec: " + spec + "\n")
	}
	set, err := config.Parse(configv1.Kinds(), config.Source{Name: "test.yaml", Data: []byte(b.String())})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestMatchLeavesBusbarOut(t *testing.T) {
	t.Parallel()
	selectors := map[string]*config.Set{
		"no resource": resources(t),
		"selected":    resources(t, "{select: [{exe: '*'}]}"),
	}
	cases := map[string]bool{
		"/usr/local/bin/busbar":                     false,
		"/opt/busbar/busbar-exporter":               false,
		"/opt/busbar/busbar-exporter (deleted)":     false,
		"/opt/busbar/busbar-probe":                  false,
		"/opt/busbar/busbar-enricher":               false,
		"/opt/busbar/busbar-router":                 false,
		"/opt/busbar/server":                        true,
		"/opt/busbar-exporter/bin/busbar-exporter2": true,
		"": true,
	}
	for name, set := range selectors {
		s, faults := sel.Compile(set)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		for exe, want := range cases {
			if exe == "" && name == "selected" {
				continue // a selector by executable asks for one
			}
			if got := s.Match(&eventv1.Process{Executable: exe}, func() []uint16 { return nil }).Observe; got != want {
				t.Errorf("%s: %q observed: %v, want %v", name, exe, got, want)
			}
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	shop := &eventv1.Process{
		Pid: 7, Executable: "/opt/shop/bin/server", Language: eventv1.Language_LANGUAGE_GO, ContainerId: "abc123",
	}
	cases := map[string]struct {
		specs []string
		ports []uint16
		want  bool
	}{
		"no resource":              {nil, nil, true},
		"nothing set":              {[]string{"{}"}, nil, true},
		"exclude alone":            {[]string{"{exclude: [{exe: /opt/shop/bin/server}]}"}, nil, false},
		"exclude another":          {[]string{"{exclude: [{exe: '*/envoy'}]}"}, nil, true},
		"port":                     {[]string{"{select: [{openPorts: '8080'}]}"}, []uint16{22, 8080}, true},
		"port as number":           {[]string{"{select: [{openPorts: 8080}]}"}, []uint16{8080}, true},
		"port in range":            {[]string{"{select: [{openPorts: '80, 8080-8090'}]}"}, []uint16{8090}, true},
		"port outside":             {[]string{"{select: [{openPorts: '80,8080-8090'}]}"}, []uint16{8091}, false},
		"no port":                  {[]string{"{select: [{openPorts: '80'}]}"}, nil, false},
		"keys are and":             {[]string{"{select: [{openPorts: '80', languages: [java]}]}"}, []uint16{80}, false},
		"entries are or":           {[]string{"{select: [{openPorts: '80'}, {languages: [java, go]}]}"}, nil, true},
		"exclude wins":             {[]string{"{select: [{openPorts: '80'}], exclude: [{openPorts: '9000'}]}"}, []uint16{80, 9000}, false},
		"resources are or":         {[]string{"{select: [{pids: [1]}]}", "{select: [{pids: [7]}]}"}, nil, true},
		"exclude is of its own":    {[]string{"{exclude: [{pids: [7]}]}", "{select: [{pids: [7]}]}"}, nil, true},
		"leading star":             {[]string{"{select: [{exe: '*/server'}]}"}, nil, true},
		"trailing star":            {[]string{"{select: [{exe: '/opt/*'}]}"}, nil, true},
		"inner star":               {[]string{"{select: [{exe: '/opt/*/bin/server'}]}"}, nil, true},
		"inner star stays":         {[]string{"{select: [{exe: '/opt/*/server'}]}"}, nil, false},
		"star alone":               {[]string{"{select: [{exe: '*'}]}"}, nil, true},
		"question mark":            {[]string{"{select: [{exe: '/opt/sho?/bin/server'}]}"}, nil, true},
		"dots are dots":            {[]string{"{select: [{exe: '/opt/shop.bin/server'}]}"}, nil, false},
		"whole path":               {[]string{"{select: [{exe: 'server'}]}"}, nil, false},
		"container":                {[]string{"{select: [{containerId: 'abc*'}]}"}, nil, true},
		"another container":        {[]string{"{select: [{containerId: 'b*'}]}"}, nil, false},
		"container among excludes": {[]string{"{exclude: [{containerId: '*'}]}"}, nil, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, faults := sel.Compile(resources(t, c.specs...))
			if faults != nil {
				t.Fatal(faults)
			}
			if got := s.Match(shop, func() []uint16 { return c.ports }).Observe; got != c.want {
				t.Errorf("Match = %t, want %t", got, c.want)
			}
		})
	}
}

func TestMatchLeavesCollectorsOut(t *testing.T) {
	t.Parallel()
	specs := map[string]struct {
		specs []string
		want  bool
	}{
		"no resource":         {nil, false},
		"every process":       {[]string{"{}"}, false},
		"any executable":      {[]string{"{select: [{exe: '*'}]}"}, false},
		"a folder":            {[]string{"{select: [{exe: '/opt/datadog-agent/*'}, {exe: '/usr/bin/*'}]}"}, false},
		"its port":            {[]string{"{select: [{openPorts: 4317}]}"}, false},
		"its name":            {[]string{"{select: [{exe: '*/otelcol*'}, {exe: '*agent'}, {exe: '*/ruby'}]}"}, true},
		"its id":              {[]string{"{select: [{pids: [7]}]}"}, true},
		"collectors as well":  {[]string{"{select: [{openPorts: 4317}], collectors: true}"}, true},
		"all and collectors":  {[]string{"{collectors: true}"}, true},
		"another resource":    {[]string{"{}", "{select: [{pids: [7]}]}"}, true},
		"excluded by name":    {[]string{"{exclude: [{pids: [7]}], collectors: true}"}, false},
		"the excluded is not": {[]string{"{exclude: [{pids: [8]}]}"}, false},
	}
	processes := map[string]*eventv1.Process{
		"collector": {Pid: 7, Executable: "/usr/bin/otelcol-contrib"},
		"agent":     {Pid: 7, Executable: "/opt/datadog-agent/bin/agent/agent"},
		"script":    {Pid: 7, Executable: "/usr/bin/ruby", Command: "fluentd"},
	}
	for name, c := range specs {
		s, faults := sel.Compile(resources(t, c.specs...))
		if faults != nil {
			t.Fatal(faults)
		}
		for which, p := range processes {
			if got := s.Match(p, func() []uint16 { return []uint16{4317} }).Observe; got != c.want {
				t.Errorf("%s: %s observed: %t, want %t", name, which, got, c.want)
			}
		}
	}
	if !new(sel.Selector).Match(&eventv1.Process{Executable: "/usr/bin/vectorize"}, nil).Observe {
		t.Error("a program whose name begins like a collector's is left out")
	}
}

func TestSDK(t *testing.T) {
	t.Parallel()
	s, faults := sel.Compile(resources(t, "{select: [{pids: [1]}]}", "{select: [{pids: [2]}], sdk: all}", "{select: [{pids: [2, 3]}], sdk: off}"))
	if faults != nil {
		t.Fatal(faults)
	}
	for pid, want := range map[uint32]sel.Decision{
		1: {Observe: true},
		2: {Observe: true, SDK: configv1.Instrumentation_SDK_ALL},
		3: {Observe: true, SDK: configv1.Instrumentation_SDK_OFF},
		4: {},
	} {
		if got := s.Match(&eventv1.Process{Pid: pid}, nil); got != want {
			t.Errorf("process %d: %v, want %v", pid, got, want)
		}
	}
}

// FuzzSelector: whatever an entry says, it is refused with a place or decides on any process without a panic, the same each time.
func FuzzSelector(f *testing.F) {
	f.Add("80,8080-8090", "*/server", "abc*", "go", "/opt/shop/server", uint16(8080))
	f.Add("0", "[", "{", "cobol", "", uint16(0))
	f.Add("1-65535", "/opt/?/*", "*", "", "/opt/a/b\nc", uint16(1))
	f.Fuzz(func(t *testing.T, ports, exe, container, language, executable string, port uint16) {
		spec := &configv1.Instrumentation{Select: []*configv1.ProcessSelector{{OpenPorts: ports, Exe: exe, ContainerId: container}}}
		if language != "" {
			spec.Select[0].Languages = []string{language}
		}
		spec.Exclude = []*configv1.ProcessSelector{{Exe: executable}}
		set := &config.Set{Resources: []*config.Resource{{Kind: configv1.KindInstrumentation, Name: "x", Spec: spec}}}
		s, faults := sel.Compile(set)
		if (s == nil) == (faults == nil) {
			t.Fatalf("selector %v with faults %v", s, faults)
		}
		if s == nil {
			return
		}
		p := &eventv1.Process{Executable: executable, ContainerId: container}
		listening := func() []uint16 { return []uint16{port} }
		first := s.Match(p, listening)
		if first != s.Match(p, listening) {
			t.Error("two decisions on the same process differ")
		}
		if first.Observe && port != 0 && ports != "" && !s.WantsPort(port) {
			t.Error("a port was decisive that no rule names")
		}
	})
}

func TestEveryContainerDoesNotMeanHostProcesses(t *testing.T) {
	t.Parallel()
	s, faults := sel.Compile(resources(t, "{select: [{containerId: '*'}]}"))
	if faults != nil {
		t.Fatal(faults)
	}
	if s.Match(&eventv1.Process{Pid: 7}, nil).Observe {
		t.Error("a process outside a container matches containerId '*'")
	}
}

func TestCompileReportsEveryFault(t *testing.T) {
	t.Parallel()
	_, faults := sel.Compile(resources(t, `
  select:
    - openPorts: "80-"
    - exe: "/bin/[a"
    - languages: [go, cobol]
    - {}
  exclude:
    - {openPorts: "70000", containerId: "{a,b}"}
    - {openPorts: "90-80"}`))
	var got []string
	for _, f := range faults {
		got = append(got, f.String())
	}
	want := []string{
		`test.yaml:7:18: spec.select[0].openPorts: "80-" is no port and no range of ports, such as 8080 or 8080-8090`,
		`test.yaml:8:12: spec.select[1].exe: "/bin/[a" is no glob: only '*' and '?' are special, and '[' may not be in it`,
		`test.yaml:9:23: spec.select[2].languages[1]: unknown language "cobol" (known: cpp, dotnet, go, java, nodejs, php, python, ruby, rust)`,
		`test.yaml:10:7: spec.select[3]: an entry needs at least one key, or it would match every process`,
		`test.yaml:12:19: spec.exclude[0].openPorts: "70000" is no port and no range of ports, such as 8080 or 8080-8090`,
		`test.yaml:12:41: spec.exclude[0].containerId: "{a,b}" is no glob: only '*' and '?' are special, and '{' may not be in it`,
		`test.yaml:13:19: spec.exclude[1].openPorts: "90-80" is no port and no range of ports, such as 8080 or 8080-8090`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
}

func TestPortsOfInterest(t *testing.T) {
	t.Parallel()
	s, faults := sel.Compile(resources(t, "{select: [{openPorts: '80'}], exclude: [{openPorts: '90-91'}]}"))
	if faults != nil {
		t.Fatal(faults)
	}
	for port, want := range map[uint16]bool{79: false, 80: true, 90: true, 91: true, 92: false} {
		if got := s.WantsPort(port); got != want {
			t.Errorf("WantsPort(%d) = %t, want %t", port, got, want)
		}
	}
	if !s.NeedsPorts() || new(sel.Selector).NeedsPorts() {
		t.Error("NeedsPorts is wrong")
	}
}

// TestListeners asks about this very process.
func TestListeners(t *testing.T) {
	t.Parallel()
	self := uint32(os.Getpid())
	var want []uint16
	listen := func(network, address string) uint16 {
		t.Helper()
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { ln.Close() })
		port := uint16(ln.Addr().(*net.TCPAddr).Port)
		want = append(want, port)
		return port
	}
	l := sel.NewListeners("/proc")
	mine := func(port uint16) bool { return slices.Contains(want, port) }
	pids := slices.Values([]uint32{self, 1 << 30})

	listen("tcp4", "127.0.0.1:0")
	if got := l.New(pids, mine); !slices.Equal(got, []uint32{self}) {
		t.Errorf("New = %v, want this process", got)
	}
	if got := l.New(pids, mine); got != nil {
		t.Errorf("New = %v for a socket that it has reported", got)
	}
	listen("tcp6", "[::1]:0")
	if got := l.New(pids, mine); !slices.Equal(got, []uint32{self}) {
		t.Errorf("New = %v after a second socket, want this process", got)
	}
	got := l.Of(self)
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Of (-want +got):\n%s", d)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", want[0]))
	if err != nil {
		conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", want[1]))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	there := uint16(conn.RemoteAddr().(*net.TCPAddr).Port)
	if !l.Connected(self, there) || l.Connected(self, 1) || l.Connected(1<<30, there) {
		t.Errorf("Connected is wrong about port %d", there)
	}
	if got := l.Of(1 << 30); got != nil {
		t.Errorf("Of = %v for no process", got)
	}
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	key := func(s *configv1.KubernetesSelector) string { return s.Key() }
	shop := key(&configv1.KubernetesSelector{Namespace: "shop"})
	web := key(&configv1.KubernetesSelector{Labels: map[string]string{"tier": "web"}})
	all := key(&configv1.KubernetesSelector{Namespace: "*"})
	chosen := sel.Choose(&kubev1.Selection{
		Selectors: []string{web, shop, all},
		Choices: []*kubev1.Choice{
			{ContainerId: "cart", Selectors: []uint32{1, 0, 2}},
			{ContainerId: "mail", Selectors: []uint32{1, 2, 99}},
			{ContainerId: "shy", Selectors: []uint32{0, 1, 2}, OptOut: true},
			{ContainerId: "dns", Selectors: []uint32{2}, System: true},
		},
	})
	const shopEntry, webEntry = "{k8s: {namespace: shop}}", "{k8s: {labels: {tier: web}}}"
	for name, tc := range map[string]struct {
		specs []string
		want  string // observed containers, "host" for a process in none and "new" for one that nobody knows
	}{
		"no resource":              {nil, "cart host mail new"},
		"nothing set":              {[]string{"{}"}, "cart host mail new"},
		"the system too":           {[]string{"{system: true}"}, "cart dns host mail new"},
		"namespace":                {[]string{"{select: [" + shopEntry + "]}"}, "cart mail"},
		"label":                    {[]string{"{select: [" + webEntry + "]}"}, "cart"},
		"entries are or":           {[]string{"{select: [" + webEntry + ", {k8s: {namespace: shop}}]}"}, "cart mail"},
		"other keys are and":       {[]string{"{select: [{k8s: {namespace: shop}, exe: '/bin/mail'}]}"}, "mail"},
		"other keys are and, port": {[]string{"{select: [{k8s: {namespace: shop}, openPorts: 80}]}"}, ""},
		"every namespace":          {[]string{"{select: [{k8s: {namespace: '*'}}]}"}, "cart mail"},
		"every, system too":        {[]string{"{select: [{k8s: {namespace: '*'}}], system: true}"}, "cart dns mail"},
		"a program of the system":  {[]string{"{select: [{exe: '/bin/dns'}]}"}, "dns"},
		"excluded":                 {[]string{"{exclude: [" + webEntry + "]}"}, "host mail new"},
		"selected and excluded":    {[]string{"{select: [" + shopEntry + "], exclude: [" + webEntry + "]}"}, "mail"},
		"not resolved yet":         {[]string{"{select: [{k8s: {pod: cart}}]}"}, ""},
		"exclusion not resolved":   {[]string{"{exclude: [{k8s: {pod: cart}}]}"}, "cart host mail new"},
		"containers only":          {[]string{"{select: [{containersOnly: true}]}"}, "cart mail new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, faults := sel.Compile(resources(t, tc.specs...))
			if faults != nil {
				t.Fatal(faults)
			}
			s = s.With(chosen)
			var got []string
			for _, id := range []string{"cart", "dns", "host", "mail", "new", "shy"} {
				p := &eventv1.Process{Pid: 7, Executable: "/bin/" + id, ContainerId: strings.TrimPrefix(id, "host")}
				if s.Match(p, func() []uint16 { return nil }).Observe {
					got = append(got, id)
				}
			}
			if d := cmp.Diff(tc.want, strings.Join(got, " ")); d != "" {
				t.Errorf("observed (-want +got):\n%s", d)
			}
		})
	}
}

func TestChosen(t *testing.T) {
	t.Parallel()
	s, faults := sel.Compile(resources(t, "{select: [{k8s: {namespace: a}}, {k8s: {namespace: b}}], exclude: [{k8s: {namespace: a}}]}"))
	if faults != nil {
		t.Fatal(faults)
	}
	if missing, all := s.Unresolved(); missing != 2 || all != 2 {
		t.Errorf("%d of %d selectors unresolved, want 2 of 2", missing, all)
	}
	a := (&configv1.KubernetesSelector{Namespace: "a"}).Key()
	one := sel.Choose(&kubev1.Selection{Selectors: []string{a, "z"}, Choices: []*kubev1.Choice{{ContainerId: "x", Selectors: []uint32{0, 1}}, {ContainerId: "y", OptOut: true}}})
	two := sel.Choose(&kubev1.Selection{Selectors: []string{"z", a}, Choices: []*kubev1.Choice{{ContainerId: "x", Selectors: []uint32{0, 1}}}})
	if missing, all := s.With(one).Unresolved(); missing != 1 || all != 2 {
		t.Errorf("%d of %d selectors unresolved, want 1 of 2", missing, all)
	}
	if selected, out := one.Containers(); selected != 1 || out != 1 {
		t.Errorf("%d containers selected, %d opted out, want 1 and 1", selected, out)
	}
	var none *sel.Chosen
	if !one.Agrees(two, "x") || one.Agrees(two, "y") || !two.Agrees(none, "y") || none.Agrees(one, "x") {
		t.Error("Agrees is wrong")
	}
}

func TestKubernetesFaults(t *testing.T) {
	t.Parallel()
	_, faults := sel.Compile(resources(t, `
  select:
    - k8s: {namespace: "sh[op", labels: {app.kubernetes.io/name: "a{b}"}}
    - k8s: {}
  exclude:
    - {k8s: {deployment: 'c\d'}}`))
	var got []string
	for _, f := range faults {
		got = append(got, f.String())
	}
	want := []string{
		`test.yaml:7:24: spec.select[0].k8s.namespace: "sh[op" is no glob: only '*' and '?' are special, and '[' may not be in it`,
		`test.yaml:7:66: spec.select[0].k8s.labels["app.kubernetes.io/name"]: "a{b}" is no glob: only '*' and '?' are special, and '{' may not be in it`,
		`test.yaml:8:12: spec.select[1].k8s: a selector needs at least one key, or it would match every container`,
		`test.yaml:10:26: spec.exclude[0].k8s.deployment: "c\\d" is no glob: only '*' and '?' are special, and '\\' may not be in it`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
}
