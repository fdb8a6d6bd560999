// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"slices"
	"strings"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// maxTags is how many tags a record may have.
const maxTags = 512

// resourceName returns what a tag is called that says who sends, rather than what is measured.
func resourceName(tag string) (name string, ok bool) {
	switch tag {
	case "host":
		return "host.name", true
	case "service":
		return "service.name", true
	case "env":
		return "deployment.environment.name", true
	case "version":
		return "service.version", true
	case "container_id":
		return "container.id", true
	case "container_name":
		return "container.name", true
	case "image_name":
		return "container.image.name", true
	case "image_tag":
		return "container.image.tags", true
	case "image_id":
		return "container.image.id", true
	case "runtime":
		return "container.runtime", true
	case "pod_name":
		return "k8s.pod.name", true
	case "cloud_provider":
		return "cloud.provider", true
	case "region":
		return "cloud.region", true
	case "zone", "availability-zone":
		return "cloud.availability_zone", true
	case "ecs_cluster_name":
		return "aws.ecs.cluster.name", true
	case "ecs_container_name":
		return "aws.ecs.container.name", true
	case "task_family":
		return "aws.ecs.task.family", true
	case "task_arn":
		return "aws.ecs.task.arn", true
	case "task_version":
		return "aws.ecs.task.revision", true
	}
	if rest, ok := strings.CutPrefix(tag, "kube_"); ok {
		if name, ok := kubeName(rest); ok {
			return name, true
		}
		return tag, true
	}
	for _, prefix := range [...]string{"image_", "ecs_", "task_"} {
		if strings.HasPrefix(tag, prefix) {
			return tag, true
		}
	}
	return "", false
}

// ResourceName is what a tag is called on a resource; empty for one that stays with what is measured.
func ResourceName(tag string) string {
	name, _ := resourceName(tag)
	return name
}

func kubeName(kind string) (name string, ok bool) {
	switch kind {
	case "namespace":
		return "k8s.namespace.name", true
	case "cluster_name":
		return "k8s.cluster.name", true
	case "container_name":
		return "k8s.container.name", true
	case "deployment":
		return "k8s.deployment.name", true
	case "replica_set":
		return "k8s.replicaset.name", true
	case "stateful_set":
		return "k8s.statefulset.name", true
	case "daemon_set":
		return "k8s.daemonset.name", true
	case "job":
		return "k8s.job.name", true
	case "cronjob":
		return "k8s.cronjob.name", true
	case "pod_uid":
		return "k8s.pod.uid", true
	case "node":
		return "k8s.node.name", true
	}
	return "", false
}

// cut takes a tag apart. One without a value says that something is so; without a value it would be no label to Prometheus.
func cut(tag string) (key, value string) {
	tag = strings.ToValidUTF8(tag, "\uFFFD")
	key, value, ok := strings.Cut(tag, ":")
	if key == "" {
		return tag, "true"
	}
	if !ok || value == "" {
		value = "true"
	}
	return key, value
}

// sorted are tags, taken apart: those of the sender, under their names in OpenTelemetry, and those of the record. They are sorted, and
// the values of tags that come several times are joined.
type sorted struct{ resource, record []otlp.Pair }

// sort takes tags apart; ok is false if they are too many.
func (m *Mapper) sort(tags []string) (s sorted, ok bool) {
	if len(tags) > maxTags {
		return s, false
	}
	s.record = make([]otlp.Pair, 0, len(tags)+2)
	for _, tag := range tags {
		tag = strings.TrimSpace(tag)
		if tag == "" || strings.HasPrefix(tag, "dd.internal.") {
			continue
		}
		key, value := cut(tag)
		name, of := resourceName(key)
		if !of {
			s.record = append(s.record, pair(key, value))
			continue
		}
		s.resource = append(s.resource, pair(name, value))
		if m.Keep && name != key {
			s.resource = append(s.resource, pair(key, value))
		}
	}
	s.resource, s.record = join(s.resource), join(s.record)
	return s, true
}

func pair(key, value string) otlp.Pair { return otlp.Pair{Key: key, Value: otlp.String(value)} }

// join sorts pairs of text and makes one of those with the same key: its values, sorted, parted by commas.
func join(pairs []otlp.Pair) []otlp.Pair {
	slices.SortFunc(pairs, func(a, b otlp.Pair) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.Value.Text, b.Value.Text)
	})
	out := pairs[:0]
	last := ""
	for _, p := range pairs {
		if n := len(out); n > 0 && out[n-1].Key == p.Key {
			if p.Value.Text != last {
				out[n-1].Value.Text += "," + p.Value.Text
			}
		} else {
			out = append(out, p)
		}
		last = p.Value.Text
	}
	return out
}

// set sets an attribute unless it is there or the value is empty.
func set(pairs *[]otlp.Pair, key, value string) {
	if value == "" || slices.ContainsFunc(*pairs, func(p otlp.Pair) bool { return p.Key == key }) {
		return
	}
	*pairs = append(*pairs, pair(key, value))
}

// force sets an attribute, whatever it was.
func force(pairs *[]otlp.Pair, key, value string) {
	if value == "" {
		return
	}
	*pairs = slices.DeleteFunc(*pairs, func(p otlp.Pair) bool { return p.Key == key })
	*pairs = append(*pairs, pair(key, value))
}

func find(pairs []otlp.Pair, key string) string {
	for _, p := range pairs {
		if p.Key == key {
			return p.Value.Text
		}
	}
	return ""
}

// resource is who sends, by its tags. Series of several senders of one name must not be taken for one: what tells them apart best is
// the instance.
func (m *Mapper) resource(tags []otlp.Pair, from From) otlp.Resource {
	set(&tags, "host.name", from.Host)
	set(&tags, "deployment.environment.name", from.Env)
	set(&tags, "container.id", from.ContainerID)
	instance := from.Instance
	for _, key := range [...]string{"container.id", "k8s.pod.name", "host.name"} {
		if instance == "" {
			instance = find(tags, key)
		}
	}
	set(&tags, "service.instance.id", instance)
	return otlp.NewResource(tags)
}

// things puts what a series is of where it belongs: its host to the sender, a device to the points.
func things(s *sorted, of []decode.Resource) {
	for _, r := range of {
		switch {
		case r.Name == "":
		case r.Type == "host":
			force(&s.resource, "host.name", r.Name)
		default:
			s.record = append(s.record, pair(r.Type, r.Name))
		}
	}
	s.record = join(s.record)
}
