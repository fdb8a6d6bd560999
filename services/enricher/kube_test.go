// SPDX-License-Identifier: Apache-2.0

package enricher_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/enricher/internal/kube/kubetest"
)

// TestKubeManyPods has 200 workloads of 10 pods come and go while events flow through one enricher, then four, of which the one that
// watches is killed. All events are of pods that live, and all have the right names, those too that are sent before the API knows
// the container.
func TestKubeManyPods(t *testing.T) {
	const workloads, each, churn, most = 200, 10, 200, 128 << 20 // bytes
	l := newKubeLab(t, workloads)
	first := l.replica(t)
	l.each(t, workloads*each, func(i int) error { return l.start(i % workloads) })
	l.churn(t, churn)
	alone := l.settle(t, "one enricher")

	replicas := []*replica{first, l.replica(t), l.replica(t), l.replica(t)}
	l.churn(t, churn)
	four := l.settle(t, "four enrichers")
	if four >= 2*alone {
		t.Errorf("the API had %d requests from one enricher, and %d after three more had come", alone, four)
	}

	watching := l.watching(t, replicas)
	taken := []int{replicas[watching].kill(t)}
	l.churn(t, churn)
	l.settle(t, "the watcher killed")
	for _, r := range slices.Delete(replicas, watching, watching+1) {
		taken = append(taken, r.kill(t))
	}
	t.Logf("memory that enrichers took at most, in bytes, first the one that was killed: %d", taken)
	if slices.Max(taken) > most {
		t.Errorf("an enricher took more than %d bytes", most)
	}
}

// kubeLab is an API with workloads, a bus, and enrichers.
type kubeLab struct {
	*kubetest.Server
	api     *kubernetes.Clientset
	nats    *bustest.Server
	bus     *bus.Bus
	binary  string
	account string // path of its kubeconfig
	sets    []*appsv1.ReplicaSet

	mu       sync.Mutex
	pods     map[string]kubePod // that live, by name
	made     int                // pods so far
	expected map[uint64]kubePod // events that were sent, by number
	got      map[uint64]string  // what became of them
}

type kubePod struct {
	uid                       types.UID
	name, workload, container string
}

func newKubeLab(t *testing.T, workloads int) *kubeLab {
	t.Helper()
	l := &kubeLab{Server: kubetest.Start(t), nats: bustest.Listen(t), pods: map[string]kubePod{}, expected: map[uint64]kubePod{}, got: map[uint64]string{}}
	l.Apply(t, "../../deploy/k8s/enricher-rbac.yaml")
	l.api, l.account, l.bus = l.Admin(t), l.Kubeconfig(t, "busbar", "busbar-enricher"), l.nats.Connect(t, "test")
	for _, s := range []subject.Stream{root.RawStream(), root.OTLPStream(), root.KubeStream(), root.DeadStream()} {
		if err := l.bus.Provision(t.Context(), bus.StreamSpec(s)); err != nil {
			t.Fatal(err)
		}
	}
	l.binary = filepath.Join(t.TempDir(), "busbar-enricher")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", l.binary, "./cmd/busbar-enricher").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l.sets = make([]*appsv1.ReplicaSet, workloads)
	l.each(t, workloads, func(i int) (err error) {
		name, yes, labels := fmt.Sprint("shop-", i), true, map[string]string{"app": fmt.Sprint("shop-", i)}
		l.sets[i], err = l.api.AppsV1().ReplicaSets("default").Create(t.Context(), &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: name + "-5d4c", OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "Deployment", Name: name, UID: types.UID("deployment-" + name), Controller: &yes},
			}},
			Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "shop:1"}}},
			}},
		}, metav1.CreateOptions{})
		return err
	})
	go l.read(t)
	return l
}

// each calls fn with 0 to n-1, several at a time.
func (l *kubeLab) each(t *testing.T, n int, fn func(int) error) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(16)
	for i := range n {
		group.Go(func() error { return fn(i) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// start starts a pod of a workload. It says something before the API knows its container, as real ones do.
func (l *kubeLab) start(workload int) error {
	l.mu.Lock()
	l.made++
	number := l.made
	l.mu.Unlock()
	set, yes := l.sets[workload], true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(set.Name, "-", number), Labels: set.Spec.Template.Labels, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set.Name, UID: set.UID, Controller: &yes},
		}},
		Spec: *set.Spec.Template.Spec.DeepCopy(),
	}
	pod.Spec.NodeName = fmt.Sprint("node-", number%20)
	ctx := context.Background()
	pod, err := l.api.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	p := kubePod{pod.UID, pod.Name, fmt.Sprint("shop-", workload), fmt.Sprintf("%064x", number)}
	l.mu.Lock()
	l.pods[p.name] = p
	l.mu.Unlock()
	if err := l.say(ctx, p); err != nil {
		return err
	}
	address := fmt.Sprintf("10.%d.%d.%d", 1+number>>16, number>>8&255, number&255)
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "main", ContainerID: "containerd://" + p.container}},
	}
	_, err = l.api.CoreV1().Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

// say sends a batch with one exchange of each of some pods.
func (l *kubeLab) say(ctx context.Context, pods ...kubePod) error {
	b := &eventv1.ExchangeBatch{Origin: &eventv1.Origin{Node: "node-1", Run: "r"}, Addresses: [][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}}}
	l.mu.Lock()
	for i, p := range pods {
		number := uint64(len(l.expected) + 1)
		l.expected[number], b.Origin.Sequence = p, number
		b.Processes = append(b.Processes, &eventv1.Process{
			Pid: uint32(i + 1), Executable: "/usr/bin/node", ContainerId: p.container, Cgroup: "/kubepods/burstable/pod" + string(p.uid) + "/" + p.container,
		})
		b.Exchanges = append(b.Exchanges, &eventv1.Exchange{
			Process: uint32(i), Role: eventv1.Role_ROLE_SERVER, StartUnixNano: 1_700_000_000_000_000_000, EndNano: 1000, PeerAddress: 1,
			TraceId: binary.BigEndian.AppendUint64(make([]byte, 8), number), SpanId: []byte("12345678"),
			Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{Method: "GET", Path: "/", Status: 200}},
		})
	}
	l.mu.Unlock()
	data, err := b.MarshalVT()
	if err != nil {
		return err
	}
	return l.bus.Publish(ctx, bus.Msg{Subject: root.RawExchange("node-1"), Data: data})
}

// churn replaces n pods by others, and has those that stay talk meanwhile.
func (l *kubeLab) churn(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	living := maps.Clone(l.pods)
	l.mu.Unlock()
	var gone, talking []kubePod
	for _, p := range living {
		if len(gone) < n {
			gone = append(gone, p)
		} else {
			talking = append(talking, p)
		}
	}
	now := int64(0)
	l.each(t, n, func(i int) error {
		if err := l.say(t.Context(), gone[i]); err != nil {
			return err
		}
		l.mu.Lock()
		delete(l.pods, gone[i].name)
		l.mu.Unlock()
		err := l.api.CoreV1().Pods("default").Delete(t.Context(), gone[i].name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if err != nil {
			return err
		}
		var workload int
		if _, err := fmt.Sscanf(gone[i].workload, "shop-%d", &workload); err != nil {
			return err
		}
		share := len(talking) / n
		if err := l.say(t.Context(), talking[i*share:(i+1)*share]...); err != nil {
			return err
		}
		return l.start(workload)
	})
}

// settle waits until everything that was sent has come out, checks its names, and returns how many requests the API has had.
func (l *kubeLab) settle(t *testing.T, when string) (requests int) {
	t.Helper()
	for range 6 { // under load one wait may be too short
		if l.outstanding() == 0 {
			break
		}
		before := l.outstanding()
		bustest.Eventually(t, fmt.Sprintf("%d events come out (%s)", before, when), func() bool { return l.outstanding() < before })
	}
	bustest.Eventually(t, "all events come out: "+when, func() bool { return l.outstanding() == 0 })
	l.mu.Lock()
	defer l.mu.Unlock()
	wrong := 0
	for number, p := range l.expected {
		if want := p.name + " " + p.workload + " main " + p.workload; l.got[number] != want {
			if wrong++; wrong <= 5 {
				t.Errorf("%s: event %d is named %q, want %q", when, number, l.got[number], want)
			}
		}
	}
	for _, n := range l.Requests(t, "system:serviceaccount:busbar:busbar-enricher") {
		requests += n
	}
	t.Logf("%s: %d events, %d named wrong, %d pods, %d requests to the API: %v", when, len(l.expected), wrong, len(l.pods), requests,
		l.Requests(t, "system:serviceaccount:busbar:busbar-enricher"))
	return requests
}

func (l *kubeLab) outstanding() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.expected) - len(l.got)
}

// read takes in what comes out until the test ends.
func (l *kubeLab) read(t *testing.T) {
	r := l.bus.Read(bus.ReaderSpec{Stream: root.OTLPStream().Name, Filters: []string{string(root) + ".otlp.traces.>"}})
	defer r.Close()
	for {
		deliveries, err := r.Next(t.Context())
		if err != nil {
			return
		}
		for _, d := range deliveries {
			data, err := d.Data()
			request := ptraceotlp.NewExportRequest()
			if err != nil || request.UnmarshalProto(data) != nil {
				t.Errorf("message %d cannot be read", d.Sequence)
				continue
			}
			l.take(request)
		}
	}
}

func (l *kubeLab) take(request ptraceotlp.ExportRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rs := range request.Traces().ResourceSpans().All() {
		text := func(key string) string {
			if v, ok := rs.Resource().Attributes().Get(key); ok {
				return v.AsString()
			}
			return "none"
		}
		name := text("k8s.pod.name") + " " + text("k8s.deployment.name") + " " + text("k8s.container.name") + " " + text("service.name")
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				id := s.TraceID()
				l.got[binary.BigEndian.Uint64(id[8:])] = name
			}
		}
	}
}

// replica is an enricher in a process of its own.
type replica struct {
	cmd *exec.Cmd
	log string // path
}

func (l *kubeLab) replica(t *testing.T) *replica {
	t.Helper()
	r := &replica{log: filepath.Join(t.TempDir(), "log")}
	log, err := os.Create(r.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r.cmd = exec.Command(l.binary, "--nats-url", l.nats.URL(), "--kube", "on", "--kubeconfig", l.account, "--admin", "127.0.0.1:0")
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		if text, _ := os.ReadFile(r.log); t.Failed() {
			t.Logf("%s", text[max(0, len(text)-2000):])
		}
	})
	return r
}

// kill ends the enricher as a crash does, and returns how much memory it took at most, in bytes.
func (r *replica) kill(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if match == nil {
		t.Fatalf("an enricher has ended by itself:\n%s", status)
	}
	kib, _ := strconv.Atoi(string(match[1]))
	_ = r.cmd.Process.Kill()
	return kib << 10
}

// watching finds the enricher that watches.
func (l *kubeLab) watching(t *testing.T, replicas []*replica) int {
	t.Helper()
	d, ok, err := l.bus.Last(t.Context(), root.KubeStream().Name, root.KubeWatcher())
	if err != nil || !ok {
		t.Fatalf("nobody watches: %v", err)
	}
	data, err := d.Data()
	w := new(kubev1.Watcher)
	if err != nil || w.UnmarshalVT(data) != nil {
		t.Fatalf("watcher %q: %v", data, err)
	}
	for i, r := range replicas {
		if suffix := fmt.Sprint("-", r.cmd.Process.Pid); len(w.GetInstance()) > len(suffix) && w.GetInstance()[len(w.GetInstance())-len(suffix):] == suffix {
			return i
		}
	}
	t.Fatalf("%s watches, which is none of ours", w.GetInstance())
	return 0
}
