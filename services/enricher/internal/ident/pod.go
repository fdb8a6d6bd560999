// SPDX-License-Identifier: Apache-2.0

package ident

import (
	"cmp"
	"strings"
	"time"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

// Labels that Kubernetes recommends for what belongs together.
const (
	labelInstance = "app.kubernetes.io/instance"
	labelName     = "app.kubernetes.io/name"
	labelPartOf   = "app.kubernetes.io/part-of"
	labelVersion  = "app.kubernetes.io/version"
)

// Labels that a kubelet gives to its containers.
const (
	labelPodName      = "io.kubernetes.pod.name"
	labelPodNamespace = "io.kubernetes.pod.namespace"
	labelPodUID       = "io.kubernetes.pod.uid"
)

// Service is the name and namespace of the service that a pod is of, as far as the cluster knows: a process in it may say otherwise.
func Service(pod *kubev1.Pod) (name, namespace string) {
	labels, annotations := pod.GetLabels(), pod.GetAnnotations()
	name = first(annotations[annotationPrefix+"service.name"], labels[labelInstance], labels[labelName], workload(pod).GetName(), podName(pod))
	return name, first(annotations[annotationPrefix+"service.namespace"], labels[labelPartOf], pod.GetNamespace())
}

// workload is what controls a pod in the end; nil when nothing does. A node owns its static pods and is no workload.
func workload(pod *kubev1.Pod) *kubev1.Owner {
	owners := pod.GetOwners()
	if n := len(owners); n > 0 && owners[n-1].GetKind() != "Node" {
		return owners[n-1]
	}
	return nil
}

// podName is the name of a pod. That of a static pod ends in the name of its node, which is left out.
func podName(pod *kubev1.Pod) string {
	for _, o := range pod.GetOwners() {
		if o.GetKind() == "Node" {
			return cmp.Or(strings.TrimSuffix(pod.GetName(), "-"+o.GetName()), pod.GetName())
		}
	}
	return pod.GetName()
}

func (s *Source) inPod() place {
	pod := s.Pod
	name, version := image(s.Container.GetImage())
	at := place{
		instance:    strings.TrimSuffix(pod.GetNamespace()+"."+pod.GetName()+"."+s.Container.GetName(), "."),
		annotations: pod.GetAnnotations(),
		attributes: []Attribute{
			{Key: "k8s.cluster.name", Text: s.Cluster},
			{Key: "k8s.namespace.name", Text: pod.GetNamespace()},
			{Key: "k8s.node.name", Text: pod.GetNode()},
			{Key: "k8s.pod.name", Text: pod.GetName()},
			{Key: "k8s.pod.uid", Text: pod.GetUid()},
			{Key: "k8s.pod.start_time", Text: timestamp(pod.GetStartUnixNano())},
			{Key: "k8s.container.name", Text: s.Container.GetName()},
			{Key: "k8s.owner.name", Text: workload(pod).GetName()},
			{Key: "k8s.kind", Text: workload(pod).GetKind()},
			{Key: "container.id", Text: cmp.Or(s.Process.GetContainerId(), s.Container.GetId())},
			{Key: "container.image.name", Text: name},
			{Key: "container.image.tags", Text: version, List: true},
			{Key: "service.version", Text: first(pod.GetLabels()[labelVersion], released(version))},
		},
	}
	at.name, at.namespace = Service(pod)
	for _, o := range pod.GetOwners() {
		if key := ownerKey(o.GetKind()); key != "" {
			at.attributes = append(at.attributes, Attribute{Key: key, Text: o.GetName()})
		}
	}
	return at
}

// ownerKey is the attribute with the name of an owner of a kind; "" if there is none.
func ownerKey(kind string) string {
	switch kind {
	case "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob":
		return "k8s." + strings.ToLower(kind) + ".name"
	}
	return ""
}

// inUnknownPod is of a container of which its runtime says that it is of a pod, and the cluster says nothing: nobody watches it. What
// runs the pod is not known, and pods come and go, so the container gives the name.
func (s *Source) inUnknownPod() place {
	c := s.Process.GetContainer()
	labels := c.GetLabels()
	name, version := image(c.GetImage())
	return place{
		name: c.GetName(), namespace: labels[labelPodNamespace],
		instance:    labels[labelPodNamespace] + "." + labels[labelPodName] + "." + c.GetName(),
		annotations: labels,
		attributes: []Attribute{
			{Key: "k8s.namespace.name", Text: labels[labelPodNamespace]},
			{Key: "k8s.pod.name", Text: labels[labelPodName]},
			{Key: "k8s.pod.uid", Text: labels[labelPodUID]},
			{Key: "k8s.container.name", Text: c.GetName()},
			{Key: "container.id", Text: s.Process.GetContainerId()},
			{Key: "container.image.name", Text: name},
			{Key: "container.image.tags", Text: version, List: true},
			{Key: "service.version", Text: released(version)},
		},
	}
}

// timestamp prints a time, given in nanoseconds since the Unix epoch; "" for none.
func timestamp(unixNano uint64) string {
	if unixNano == 0 {
		return ""
	}
	return time.Unix(0, int64(unixNano)).UTC().Format(time.RFC3339) //nolint:gosec // wrong only where it is nonsense
}
