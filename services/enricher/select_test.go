// SPDX-License-Identifier: Apache-2.0

package enricher_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/enricher"
	"github.com/busbar/busbar/services/enricher/internal/kube/kubetest"
)

// TestSelection: pods of a real API are labelled and annotated, resources are changed, and what a probe is told follows.
func TestSelection(t *testing.T) {
	t.Parallel()
	api := kubetest.Start(t)
	api.Apply(t, "../../deploy/k8s/enricher-rbac.yaml")
	in := install(t)
	resources := filepath.Join(t.TempDir(), "select.yaml")
	declare := func(selector string) {
		t.Helper()
		text := "apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: x}\nspec: {select: [{k8s: " + selector + ", openPorts: 80}]}\n"
		if err := os.WriteFile(resources, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	declare("{labels: {tier: web}}")
	kubeconfig := api.Kubeconfig(t, "busbar", "busbar-enricher")
	in.enrich(t, func(c *enricher.Config) {
		c.Paths, c.Kube = []string{resources}, enricher.Kube{Mode: "on", Kubeconfig: kubeconfig}
	})
	pods := api.Admin(t).CoreV1().Pods("default")
	for n, labels := range []map[string]string{{"tier": "web"}, {"tier": "db"}} {
		p, err := pods.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%d", n), Labels: labels},
			Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "main", Image: "shop:1"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "main", ContainerID: "containerd://" + fmt.Sprintf("%064d", n), Image: "sha256:0"},
		}}
		if _, err := pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch := func(pod, metadata string) {
		t.Helper()
		_, err := pods.Patch(t.Context(), pod, types.MergePatchType, []byte(`{"metadata": `+metadata+`}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	told := func(what, want string) {
		t.Helper()
		bustest.Eventually(t, what, func() bool { return in.told(t, "node-1") == want })
	}
	told("the pod with the label is selected", "0")
	patch("pod-1", `{"labels": {"tier": "web"}}`)
	told("a pod that is labelled is selected too", "0 1")
	patch("pod-0", `{"annotations": {"busbar.dev/observe": "false"}}`)
	told("a pod opts out", "-0 1")
	patch("pod-0", `{"annotations": {"busbar.dev/observe": null}}`)
	told("it takes that back", "0 1")
	declare("{pod: pod-1}")
	told("another selector", "1")
	grace := int64(0)
	if err := pods.Delete(t.Context(), "pod-1", metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		t.Fatal(err)
	}
	told("a pod is gone", "")
}

// told is what a probe is told: numbers of the containers that are selected, with a hyphen when they opt out.
func (in *installation) told(t *testing.T, node string) string {
	t.Helper()
	d, ok, err := in.bus.Last(t.Context(), root.KubeStream().Name, root.Selection(node))
	if err != nil || !ok {
		return "nothing"
	}
	data, err := d.Data()
	if err != nil {
		t.Fatal(err)
	}
	s := new(kubev1.Selection)
	if err := s.UnmarshalVT(data); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, c := range s.GetChoices() {
		name := strings.TrimLeft(c.GetContainerId()[:63], "0") + c.GetContainerId()[63:]
		if c.GetOptOut() {
			name = "-" + name
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}
