// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

func at(seconds int64) metav1.Time { return metav1.NewTime(time.Unix(seconds, 0)) }

func terminated(id string, end int64) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: id, FinishedAt: at(end)}}
}

func TestContainersOfAPod(t *testing.T) {
	t.Parallel()
	p := &corev1.Pod{
		Spec: corev1.PodSpec{
			Containers:     []corev1.Container{{Name: "main", Image: "shop:1"}, {Name: "waiting", Image: "x"}},
			InitContainers: []corev1.Container{{Name: "sidecar", Image: "proxy:2"}},
		},
		Status: corev1.PodStatus{
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "main", ContainerID: "containerd://b", Image: "sha256:0", RestartCount: 3, LastTerminationState: terminated("containerd://a", 1)},
				{Name: "waiting"},
			},
			InitContainerStatuses:      []corev1.ContainerStatus{{Name: "sidecar", ContainerID: "cri-o://c"}},
			EphemeralContainerStatuses: []corev1.ContainerStatus{{Name: "debug", ContainerID: "docker://d", Image: "busybox"}},
		},
	}
	want := []*kubev1.Container{
		{Name: "main", Id: "b", Image: "shop:1", Restarts: 3}, {Name: "main", Id: "a", Image: "shop:1", Restarts: 2},
		{Name: "sidecar", Id: "c", Image: "proxy:2"}, {Name: "debug", Id: "d", Image: "busybox"},
	}
	if d := cmp.Diff(want, podOf(p).GetContainers(), protocmp.Transform()); d != "" {
		t.Errorf("containers (-want +got):\n%s", d)
	}
}

func TestWhenAPodEnded(t *testing.T) {
	t.Parallel()
	status := func(s ...corev1.ContainerStatus) []corev1.ContainerStatus { return s }
	for name, tc := range map[string]struct {
		status corev1.PodStatus
		want   int64
	}{
		"it runs": {corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: status(corev1.ContainerStatus{State: terminated("", 5)})}, 0},
		"its last container": {corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: status(
			corev1.ContainerStatus{State: terminated("", 5)}, corev1.ContainerStatus{State: terminated("", 7)},
		)}, 7},
		"evicted":          {corev1.PodStatus{Phase: corev1.PodFailed, Conditions: []corev1.PodCondition{{LastTransitionTime: at(6)}}}, 6},
		"nobody says when": {corev1.PodStatus{Phase: corev1.PodFailed}, 3},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(3)}, Status: tc.status}
		if got := podOf(p).GetEndUnixNano(); got != uint64(tc.want*1e9) {
			t.Errorf("%s: ended at %d, want %d", name, got, tc.want)
		}
	}
}

// What nobody asks for is no news, and what is long stays out.
func TestWhatIsTakenOfAPodIsBounded(t *testing.T) {
	t.Parallel()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{}, Annotations: map[string]string{
		lastApplied: "{}", "long": strings.Repeat("x", maxValue+1), "bad": "\xff", "resource.opentelemetry.io/team": "a",
	}}}
	for i := range 1000 {
		p.Labels[fmt.Sprint("l", i)] = "v"
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: fmt.Sprint("10.0.", i/250, ".", i%250)})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: fmt.Sprint(i), ContainerID: fmt.Sprint("x://", i), Image: strings.Repeat("i", 9999)})
	}
	first := podOf(p)
	if len(first.GetLabels()) != maxPairs || len(first.GetAddresses()) != maxParts || len(first.GetContainers()) != maxParts || len(first.GetContainers()[0].GetImage()) != maxText {
		t.Errorf("%d labels, %d addresses, %d containers", len(first.GetLabels()), len(first.GetAddresses()), len(first.GetContainers()))
	}
	if d := cmp.Diff(map[string]string{"bad": "?", "resource.opentelemetry.io/team": "a"}, first.GetAnnotations()); d != "" {
		t.Errorf("annotations (-want +got):\n%s", d)
	}
	p.ResourceVersion, p.Status.Conditions = "2", []corev1.PodCondition{{LastProbeTime: at(9)}}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
	if !proto.Equal(first, podOf(p)) {
		t.Error("a heartbeat of the kubelet is news")
	}
}

func TestServicesWithoutAddresses(t *testing.T) {
	t.Parallel()
	s := serviceOf(&corev1.Service{Spec: corev1.ServiceSpec{ClusterIPs: []string{"None"}}, Status: corev1.ServiceStatus{
		LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{Hostname: "lb.example"}, {IP: "192.0.2.1"}}},
	}})
	if d := cmp.Diff([][]byte{{192, 0, 2, 1}}, s.GetAddresses()); d != "" {
		t.Errorf("addresses (-want +got):\n%s", d)
	}
}
