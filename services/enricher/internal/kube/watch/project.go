// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

// Limits of what is taken of an object: names and selectors need no more, and messages stay small.
const (
	maxPairs = 64   // labels, and annotations
	maxValue = 1024 // bytes of an annotation
	maxParts = 64   // containers, addresses
	maxText  = 512  // bytes of any other text
)

// podOf is what the bus is to know of a pod, but for the owners of its owner.
func podOf(p *corev1.Pod) *kubev1.Pod {
	out := &kubev1.Pod{
		Uid: string(p.UID), Name: p.Name, Namespace: p.Namespace, Node: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork,
		Labels: pairs(p.Labels, ""), Annotations: pairs(p.Annotations, lastApplied), Containers: containers(p),
		StartUnixNano: nano(p.CreationTimestamp),
	}
	if p.Status.StartTime != nil {
		out.StartUnixNano = nano(*p.Status.StartTime)
	}
	if !p.Spec.HostNetwork {
		for _, ip := range p.Status.PodIPs {
			out.Addresses = address(out.Addresses, ip.IP)
		}
	}
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		out.EndUnixNano = cmp.Or(endOf(p), out.GetStartUnixNano(), 1)
	}
	return out
}

// lastApplied is an annotation that repeats the object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// containers lists the containers of a pod, those that have ended and earlier runs of them too.
func containers(p *corev1.Pod) (out []*kubev1.Container) {
	images := map[string]string{}
	for _, c := range p.Spec.Containers {
		images[c.Name] = c.Image
	}
	for _, c := range p.Spec.InitContainers {
		images[c.Name] = c.Image
	}
	for _, c := range p.Spec.EphemeralContainers {
		images[c.Name] = c.Image
	}
	add := func(status corev1.ContainerStatus, id string, restarts int32) {
		if _, id, _ = strings.Cut(id, "://"); id != "" && len(out) < maxParts {
			image := cmp.Or(images[status.Name], status.Image)
			out = append(out, &kubev1.Container{Name: status.Name, Id: clip(id), Image: clip(image), Restarts: uint32(max(restarts, 0))}) //nolint:gosec // not negative
		}
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, s := range list {
			add(s, s.ContainerID, s.RestartCount)
			if last := s.LastTerminationState.Terminated; last != nil && last.ContainerID != s.ContainerID {
				add(s, last.ContainerID, s.RestartCount-1)
			}
		}
	}
	return out
}

// endOf is when the last container of a pod that has ended did so; without containers, when its conditions last changed.
func endOf(p *corev1.Pod) (end uint64) {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if s.State.Terminated != nil {
			end = max(end, nano(s.State.Terminated.FinishedAt))
		}
	}
	if end > 0 {
		return end
	}
	for _, c := range p.Status.Conditions {
		end = max(end, nano(c.LastTransitionTime))
	}
	return end
}

// serviceOf is what the bus is to know of a service, but for endpoints that were written by hand.
func serviceOf(s *corev1.Service) *kubev1.Service {
	out := &kubev1.Service{Uid: string(s.UID), Name: s.Name, Namespace: s.Namespace}
	for _, ip := range slices.Concat(s.Spec.ClusterIPs, s.Spec.ExternalIPs) {
		out.Addresses = address(out.Addresses, ip) // "None" is none
	}
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		out.Addresses = address(out.Addresses, ingress.IP)
	}
	return out
}

// endpointsOf lists the addresses of a slice that are no pod's.
func endpointsOf(s *discoveryv1.EndpointSlice) (addresses [][]byte) {
	for _, e := range s.Endpoints {
		if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
			continue
		}
		for _, ip := range e.Addresses {
			addresses = address(addresses, ip)
		}
	}
	return addresses
}

// nodeOf is what the bus is to know of a node.
func nodeOf(n *corev1.Node) *kubev1.Node {
	out := &kubev1.Node{Uid: string(n.UID), Name: n.Name, ProviderId: clip(n.Spec.ProviderID), Labels: map[string]string{}}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			out.Addresses = address(out.Addresses, a.Address)
		}
	}
	for key, value := range n.Labels {
		if strings.HasPrefix(key, "topology.kubernetes.io/") || key == corev1.LabelInstanceTypeStable {
			out.Labels[key] = value
		}
	}
	return out
}

// controller is the owner that controls an object.
func controller(o metav1.Object) (c metav1.OwnerReference) {
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		c = metav1.OwnerReference{Kind: ref.Kind, Name: ref.Name, UID: ref.UID}
	}
	return c
}

// pairs is what is kept of labels or annotations: the first in the alphabet, without what is long.
func pairs(from map[string]string, except string) map[string]string {
	out := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(from)) {
		if len(out) < maxPairs && len(from[key]) <= maxValue && key != except {
			out[key] = strings.ToValidUTF8(from[key], "?")
		}
	}
	return out
}

// address appends the bytes of an address, if it is one.
func address(to [][]byte, text string) [][]byte {
	a, err := netip.ParseAddr(text)
	if err != nil || len(to) == maxParts {
		return to
	}
	return append(to, a.Unmap().WithZone("").AsSlice())
}

func nano(t metav1.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixNano(), 0)) //nolint:gosec // not negative
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxText)], "?") }
