// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

const maxBundle = 4 << 20 // bytes of a config.json; they list mounts and system calls

// states are where containerd and those who bring their own keep the OCI bundles of running containers, one folder per namespace.
func states() []string {
	return []string{"run/containerd/io.containerd.runtime.v2.task", "run/k3s/containerd/io.containerd.runtime.v2.task"}
}

// bundles reads the OCI bundles of containerd below file systems of the machine. Who starts containers writes into their
// annotations what it calls them: the kubelet's plug-in and nerdctl do, Docker does not.
type bundles []string

func (b bundles) look(_ context.Context, id string) (*eventv1.Container, error) {
	for _, root := range b {
		for _, state := range states() {
			dir := filepath.Join(root, state)
			namespaces, err := os.ReadDir(dir)
			if err != nil {
				continue
			}
			for _, ns := range namespaces {
				c, err := readBundle(filepath.Join(dir, ns.Name(), id, "config.json"))
				if !errors.Is(err, os.ErrNotExist) {
					return c, err
				}
			}
		}
	}
	return nil, errUnknown
}

func readBundle(path string) (*eventv1.Container, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseBundle(io.LimitReader(f, maxBundle))
}

// parseBundle reads the configuration of an OCI bundle.
func parseBundle(r io.Reader) (*eventv1.Container, error) {
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.NewDecoder(r).Decode(&spec); err != nil {
		return nil, fmt.Errorf("parse bundle: %w", err)
	}
	a := spec.Annotations
	c := &eventv1.Container{Name: a["nerdctl/name"], Image: a["io.kubernetes.cri.image-name"], Labels: map[string]string{}}
	for key, value := range a {
		if wanted(key) {
			c.Labels[key] = value
		}
	}
	for label, annotation := range map[string]string{
		labelContainer: "io.kubernetes.cri.container-name", labelPod: "io.kubernetes.cri.sandbox-name",
		labelNamespace: "io.kubernetes.cri.sandbox-namespace", labelUID: "io.kubernetes.cri.sandbox-uid",
	} {
		if value := a[annotation]; value != "" {
			c.Labels[label] = value
		}
	}
	if name := c.Labels[labelContainer]; name != "" {
		c.Name = name
	}
	if c.Name == "" {
		return nil, errUnknown // Docker's
	}
	return c, nil
}

// isID tells whether id can be part of a path and nothing else.
func isID(id string) bool {
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return id != ""
}
