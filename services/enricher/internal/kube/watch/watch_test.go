// SPDX-License-Identifier: Apache-2.0

package watch_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/enricher/internal/kube"
	"github.com/busbar/busbar/services/enricher/internal/kube/kubetest"
	"github.com/busbar/busbar/services/enricher/internal/kube/watch"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

const (
	root = subject.DefaultRoot
	role = "../../../../../deploy/k8s/enricher-rbac.yaml"
	user = "system:serviceaccount:busbar:busbar-enricher"
)

// lab is an API, a bus, and watchers between them.
type lab struct {
	*kubetest.Server
	api  *kubernetes.Clientset
	nats *bustest.Server
	as   *rest.Config // with the role that is documented
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{Server: kubetest.Start(t), nats: bustest.Start(t)}
	l.Apply(t, role)
	l.api, l.as = l.Admin(t), l.Account(t, "busbar", "busbar-enricher")
	return l
}

// enricher is what one enricher has of all this.
type enricher struct {
	*watch.Watcher
	cluster *kube.Directory
	stop    func()
}

// enrich runs an enricher's part until the test or stop ends it.
func (l *lab) enrich(t *testing.T, instance string) *enricher {
	t.Helper()
	b := l.nats.Connect(t, instance)
	if err := b.Provision(t.Context(), bus.StreamSpec(root.KubeStream())); err != nil {
		t.Fatal(err)
	}
	e := &enricher{cluster: kube.NewDirectory()}
	e.Watcher = watch.New(watch.Config{
		API: l.as, Bus: b, Root: root, Directory: e.cluster, Instance: instance, Cluster: "lab", Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	caught, ended := make(chan struct{}), make(chan error, 2)
	go func() {
		ended <- e.cluster.Follow(ctx, b, root, slog.New(slog.DiscardHandler), func() { close(caught) })
	}()
	select {
	case <-caught:
	case err := <-ended:
		t.Fatal(err)
	}
	go func() { ended <- e.Run(ctx) }()
	stopped := false
	e.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("%s ended with %v", instance, err)
			}
		}
	}
	t.Cleanup(e.stop)
	return e
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func id(n int) string { return fmt.Sprintf("%064x", n) }

func by(kind, name string, owner metav1.ObjectMeta) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: owner.UID, Controller: &yes}}
}

func template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "main", Image: "shop:1"}}},
	}
}

// pod creates a pod that runs.
func (l *lab) pod(t *testing.T, p *corev1.Pod, container int, address string) *corev1.Pod {
	t.Helper()
	if p.Spec.Containers == nil {
		p.Spec.Containers = []corev1.Container{{Name: "main", Image: "shop:1"}}
	}
	p.Spec.NodeName = "node-1"
	pods := l.api.CoreV1().Pods("default")
	p = must[*corev1.Pod](t)(pods.Create(t.Context(), p, metav1.CreateOptions{}))
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: p.Spec.Containers[0].Name, ContainerID: "containerd://" + id(container), Image: "sha256:0"}},
	}
	return must[*corev1.Pod](t)(pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}))
}

// has waits until a container is known, and returns its pod.
func (e *enricher) has(t *testing.T, container int) (pod *kubev1.Pod) {
	t.Helper()
	bustest.Eventually(t, fmt.Sprintf("container %d is known", container), func() bool {
		pod, _ = e.cluster.Container(id(container))
		return pod != nil
	})
	return pod
}

func (e *enricher) complete(t *testing.T) {
	t.Helper()
	bustest.Eventually(t, "the cluster is known", func() bool { return e.cluster.Stats().Complete })
}

func owners(p *kubev1.Pod) string {
	var all []string
	for _, o := range p.GetOwners() {
		all = append(all, o.GetKind()+" "+o.GetName())
	}
	return strings.Join(all, ", ")
}

// What the API has is known with the rights that are documented, and follows what becomes of it.
func TestTheClusterIsKnown(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	apps, batch, core := l.api.AppsV1(), l.api.BatchV1(), l.api.CoreV1()
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
	deployment := must[*appsv1.Deployment](t)(apps.Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "cart"}, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template()},
	}, metav1.CreateOptions{}))
	set := must[*appsv1.ReplicaSet](t)(apps.ReplicaSets("default").Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "cart-xyz", OwnerReferences: by("Deployment", "cart", deployment.ObjectMeta)},
		Spec:       appsv1.ReplicaSetSpec{Selector: selector, Template: template()},
	}, metav1.CreateOptions{}))
	jobTemplate := template()
	jobTemplate.Spec.RestartPolicy = corev1.RestartPolicyNever
	job := must[*batchv1.Job](t)(batch.Jobs("default").Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "bill-1", OwnerReferences: by("CronJob", "bill", metav1.ObjectMeta{UID: "cron"})},
		Spec:       batchv1.JobSpec{Template: jobTemplate},
	}, metav1.CreateOptions{}))
	must[*corev1.Node](t)(core.Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"topology.kubernetes.io/zone": "z", "other": "x"}},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///z/i-1"},
	}, metav1.CreateOptions{}))

	e := l.enrich(t, "one")
	e.complete(t)
	l.pod(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "cart-xyz-1", OwnerReferences: by("ReplicaSet", "cart-xyz", set.ObjectMeta),
		Labels: map[string]string{"app.kubernetes.io/name": "cart"}, Annotations: map[string]string{"resource.opentelemetry.io/team": "a"},
	}}, 1, "10.0.0.1")
	l.pod(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bill-1-1", OwnerReferences: by("Job", "bill-1", job.ObjectMeta)}}, 2, "10.0.0.2")
	l.pod(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "late-abc-1", OwnerReferences: by("ReplicaSet", "late-abc", metav1.ObjectMeta{UID: "unseen"}), Labels: map[string]string{"pod-template-hash": "abc"},
	}}, 3, "10.0.0.3")
	bare := l.pod(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bare"}, Spec: corev1.PodSpec{HostNetwork: true}}, 4, "192.0.2.1")

	cart := e.has(t, 1)
	got := map[int]string{1: owners(cart), 2: owners(e.has(t, 2)), 3: owners(e.has(t, 3)), 4: owners(e.has(t, 4))}
	want := map[int]string{1: "ReplicaSet cart-xyz, Deployment cart", 2: "Job bill-1, CronJob bill", 3: "ReplicaSet late-abc, Deployment late"}
	want[4] = ""
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("owners (-want +got):\n%s", d)
	}
	if c := cart.GetContainers(); cart.GetNode() != "node-1" || cart.GetLabels()["app.kubernetes.io/name"] != "cart" ||
		cart.GetAnnotations()["resource.opentelemetry.io/team"] != "a" || len(c) != 1 || c[0].GetImage() != "shop:1" {
		t.Errorf("pod %v", cart)
	}
	if e.has(t, 4).GetAddresses() != nil {
		t.Error("a pod in its node's network has an address")
	}
	node := e.cluster.Node("node-1")
	if d := cmp.Diff(map[string]string{"topology.kubernetes.io/zone": "z"}, node.GetLabels()); d != "" || node.GetProviderId() != "aws:///z/i-1" {
		t.Errorf("node %v", node)
	}
	if e.cluster.Cluster() != "lab" {
		t.Errorf("cluster %q", e.cluster.Cluster())
	}

	now := int64(0)
	if err := core.Pods("default").Delete(t.Context(), bare.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the pod has ended", func() bool { return e.has(t, 4).GetEndUnixNano() != 0 })
	for request := range l.Requests(t, user) {
		if verb, _, _ := strings.Cut(request, " "); verb != "list" && verb != "watch" {
			t.Errorf("request %q", request)
		}
	}
}

// Addresses of services, and those that somebody wrote by hand for a service without pods.
func TestServicesAreKnown(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	e := l.enrich(t, "one")
	services, slices := l.api.CoreV1().Services("default"), l.api.DiscoveryV1().EndpointSlices("default")
	made := must[*corev1.Service](t)(services.Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 5432}}, ExternalIPs: []string{"192.0.2.9"}},
	}, metav1.CreateOptions{}))
	slice := func(name, manager, address string) {
		must[*discoveryv1.EndpointSlice](t)(slices.Create(t.Context(), &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "db", discoveryv1.LabelManagedBy: manager}},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
		}, metav1.CreateOptions{}))
	}
	slice("by-controller", "endpointslice-controller.k8s.io", "10.0.0.9")
	slice("by-hand", "staff", "203.0.113.5")
	whose := func(address string) string {
		p, _ := e.cluster.Peer(netip.MustParseAddr(address))
		return p.Name
	}
	for _, address := range []string{made.Spec.ClusterIP, "192.0.2.9", "203.0.113.5"} {
		bustest.Eventually(t, address+" is the service's", func() bool { return whose(address) == "db" })
	}
	if got := whose("10.0.0.9"); got != "" {
		t.Errorf("the address of a pod is %q's", got)
	}
	if err := slices.Delete(t.Context(), "by-hand", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the address is nobody's", func() bool { return whose("203.0.113.5") == "" })
}

// One watches, all know. When it goes, another goes on where it was, and writes what differs alone.
func TestOneWatches(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const pods = 20
	for i := range pods {
		l.pod(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p-", i)}}, i+1, fmt.Sprint("10.0.1.", i+1))
	}
	first := l.enrich(t, "one")
	first.complete(t)
	second, third := l.enrich(t, "two"), l.enrich(t, "three")
	for i := range pods {
		first.has(t, i+1)
		second.has(t, i+1)
		third.has(t, i+1)
	}
	for request, n := range l.Requests(t, user) {
		if n > 1 {
			t.Errorf("%d requests to %s, by one watcher", n, request)
		}
	}
	before := second.cluster.Entries()
	first.stop()
	now := int64(0)
	if err := l.api.CoreV1().Pods("default").Delete(t.Context(), "p-0", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "another one watches", func() bool { return second.cluster.Lease().GetInstance() != "one" && second.cluster.Stats().Complete })
	bustest.Eventually(t, "what went meanwhile has ended", func() bool { return third.has(t, 1).GetEndUnixNano() != 0 })
	for i := 1; i < pods; i++ {
		key := kube.Key{Kind: kube.KindPod, UID: second.has(t, i+1).GetUid()}
		if e, _ := second.cluster.Entry(key); e.Sequence != before[key].Sequence {
			t.Errorf("pod %d was written again, though nothing about it changed", i)
		}
	}
}

// While the API is away all names stay, and it is said; afterwards everything goes on.
func TestTheAPIIsAway(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	e := l.enrich(t, "one")
	l.pod(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, 1, "10.0.0.1")
	e.has(t, 1)
	l.StopAPI(t)
	bustest.Eventually(t, "it is said", func() bool { return len(e.Degraded()) > 0 })
	if p := e.has(t, 1); p.GetEndUnixNano() != 0 {
		t.Error("a pod has ended because nobody can tell")
	}
	l.StartAPI(t)
	l.pod(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "q"}}, 2, "10.0.0.2")
	e.has(t, 2)
	bustest.Eventually(t, "all is well", func() bool { return len(e.Degraded()) == 0 })
}

// The stream is deleted: the cluster is written anew.
func TestTheStreamIsDeleted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	e := l.enrich(t, "one")
	l.pod(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, 1, "10.0.0.1")
	e.has(t, 1)
	l.nats.DeleteStream(t, root.KubeStream().Name)
	fresh := l.enrich(t, "two")
	bustest.Eventually(t, "the cluster is on the bus again", func() bool {
		p, _ := fresh.cluster.Container(id(1))
		return p != nil
	})
}
