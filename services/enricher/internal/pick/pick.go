// SPDX-License-Identifier: Apache-2.0

// Package pick finds the containers that Instrumentation resources mean by what only Kubernetes knows: its namespace, its workload, its
// labels. A probe asks no API; it is told the containers of its node.
//
// An entry of Instrumentation may have other keys besides (a port, an executable), which are for the probe to try. So what is
// resolved here are selectors, by their keys, and not decisions.
package pick

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/enricher/internal/note"
)

// Selectors are the Kubernetes selectors of a set of resources. They never change; the zero value has none.
type Selectors struct {
	keys []string // in order
	by   map[string]*configv1.KubernetesSelector
}

// Compile reads the Instrumentation resources of a set. It returns all faults of their Kubernetes selectors, in the words of the probe, or
// the selectors when there are none.
func Compile(set *config.Set) (*Selectors, config.Faults) {
	s := &Selectors{by: map[string]*configv1.KubernetesSelector{}}
	var faults config.Faults
	for _, res := range set.Of(configv1.KindInstrumentation) {
		spec, ok := res.Spec.(*configv1.Instrumentation)
		if !ok {
			continue
		}
		for list, entries := range map[string][]*configv1.ProcessSelector{"select": spec.GetSelect(), "exclude": spec.GetExclude()} {
			for i, e := range entries {
				k := e.GetK8S()
				if k == nil {
					continue
				}
				k.Check(func(path, reason string) {
					faults = append(faults, res.Fault(strings.TrimSuffix(fmt.Sprintf("spec.%s[%d].k8s.%s", list, i, path), "."), "%s", reason))
				})
				s.by[k.Key()] = k
			}
		}
	}
	s.keys = slices.Sorted(maps.Keys(s.by))
	if len(faults) > 0 {
		return nil, faults
	}
	return s, nil
}

// Len is how many different selectors there are.
func (s *Selectors) Len() int { return len(s.keys) }

// Resolve returns the selection of each node that has a pod, by the name of the node. The pods have all their labels and annotations.
// The same pods give the same selections, whatever order they come in.
func (s *Selectors) Resolve(pods iter.Seq[*kubev1.Pod]) map[string]*kubev1.Selection {
	nodes := map[string]*kubev1.Selection{}
	for pod := range pods {
		if pod.GetNode() == "" || pod.GetEndUnixNano() != 0 {
			continue
		}
		n := nodes[pod.GetNode()]
		if n == nil {
			n = &kubev1.Selection{Node: pod.GetNode(), Selectors: s.keys}
			nodes[pod.GetNode()] = n
		}
		n.Choices = append(n.Choices, s.choose(pod)...)
	}
	for _, n := range nodes {
		slices.SortFunc(n.Choices, func(a, b *kubev1.Choice) int { return cmp.Compare(a.GetContainerId(), b.GetContainerId()) })
	}
	return nodes
}

// choose says what there is to say about the containers of a pod.
func (s *Selectors) choose(pod *kubev1.Pod) (choices []*kubev1.Choice) {
	optOut, _ := note.OptsOut(pod.GetAnnotations()) // whoever reads the others says what is wrong
	for _, container := range pod.GetContainers() {
		c := &kubev1.Choice{ContainerId: container.GetId(), OptOut: optOut, System: system(pod.GetNamespace())}
		for i, key := range s.keys {
			if matches(s.by[key], pod, container) {
				c.Selectors = append(c.Selectors, uint32(i)) //nolint:gosec // bounded by the size of the resources
			}
		}
		if c.GetContainerId() != "" && (c.GetOptOut() || c.GetSystem() || c.GetSelectors() != nil) {
			choices = append(choices, c)
		}
	}
	return choices
}

// system tells whether a namespace is one of Kubernetes itself.
func system(namespace string) bool {
	switch namespace {
	case "kube-system", "kube-public", "kube-node-lease":
		return true
	}
	return false
}

func matches(s *configv1.KubernetesSelector, pod *kubev1.Pod, container *kubev1.Container) bool {
	return configv1.Matches(s.GetNamespace(), pod.GetNamespace()) &&
		configv1.Matches(s.GetNode(), pod.GetNode()) &&
		configv1.Matches(s.GetPod(), pod.GetName()) &&
		configv1.Matches(s.GetContainer(), container.GetName()) &&
		owned(pod, "", s.GetOwner()) &&
		owned(pod, "Deployment", s.GetDeployment()) &&
		owned(pod, "ReplicaSet", s.GetReplicaset()) &&
		owned(pod, "StatefulSet", s.GetStatefulset()) &&
		owned(pod, "DaemonSet", s.GetDaemonset()) &&
		owned(pod, "Job", s.GetJob()) &&
		owned(pod, "CronJob", s.GetCronjob()) &&
		has(pod.GetLabels(), s.GetLabels()) &&
		has(pod.GetAnnotations(), s.GetAnnotations())
}

// owned tells whether an owner of the kind, or of any kind, has a name that matches. An empty glob asks for nothing.
func owned(pod *kubev1.Pod, kind, glob string) bool {
	return glob == "" || slices.ContainsFunc(pod.GetOwners(), func(o *kubev1.Owner) bool {
		return (kind == "" || o.GetKind() == kind) && configv1.Matches(glob, o.GetName())
	})
}

// has tells whether each key is there, with a value that matches.
func has(values, globs map[string]string) bool {
	for key, glob := range globs {
		value, ok := values[key]
		if !ok || glob == "" && value != "" || !configv1.Matches(glob, value) {
			return false
		}
	}
	return true
}
