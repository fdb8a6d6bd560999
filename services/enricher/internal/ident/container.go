// SPDX-License-Identifier: Apache-2.0

package ident

import "strings"

// Labels of containers outside Kubernetes.
const (
	labelComposeService = "com.docker.compose.service"
	labelComposeProject = "com.docker.compose.project"
	labelSwarmService   = "com.docker.swarm.service.name"
	labelSwarmStack     = "com.docker.stack.namespace"
	labelImageVersion   = "org.opencontainers.image.version"
)

// inContainer is of a process whose container has a runtime that names it. A service of Swarm has its stack in front of its name.
func (s *Source) inContainer() place {
	c := s.Process.GetContainer()
	labels := c.GetLabels()
	name, version := image(c.GetImage())
	stack := labels[labelSwarmStack]
	return place{
		name:        first(labels[labelComposeService], strings.TrimPrefix(labels[labelSwarmService], stack+"_"), c.GetName()),
		namespace:   first(labels[labelComposeProject], stack),
		annotations: labels,
		attributes: []Attribute{
			{Key: "container.id", Text: s.Process.GetContainerId()},
			{Key: "container.name", Text: c.GetName()},
			{Key: "container.image.name", Text: name},
			{Key: "container.image.tags", Text: version, List: true},
			{Key: "service.version", Text: first(labels[labelImageVersion], released(version))},
		},
	}
}

// image parts what names an image into its repository and tag: registry:5000/shop/cart:1.4@sha256:... A digest is neither.
func image(reference string) (name, tag string) {
	name, _, _ = strings.Cut(reference, "@")
	if strings.HasPrefix(name, "sha256:") {
		return "", ""
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// released returns a tag that says which version an image is; "" for "latest", which says nothing.
func released(tag string) string {
	if tag == "latest" {
		return ""
	}
	return tag
}
