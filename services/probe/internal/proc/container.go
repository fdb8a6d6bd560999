// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"strings"
)

// containerIDLen is the length of the ids that docker, containerd, CRI-O and podman give.
const containerIDLen = 64

// parseCgroup reads /proc/PID/cgroup, whose lines are "hierarchy:controllers:path". It returns the container id, or "", and the
// path that best says where the process belongs: the one with the container id, else that of cgroup v2, else systemd's.
func parseCgroup(data []byte) (id, path string) {
	rank := 0
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		hierarchy, rest, _ := bytes.Cut(line, []byte{':'})
		controllers, p, ok := bytes.Cut(rest, []byte{':'})
		if !ok {
			continue
		}
		found := containerID(string(p))
		switch {
		case found != "":
			return found, clean(p)
		case rank < 3 && string(hierarchy) == "0" && string(p) != "/":
			rank, path = 3, clean(p)
		case rank < 2 && string(controllers) == "name=systemd":
			rank, path = 2, clean(p)
		case rank < 1:
			rank, path = 1, clean(p)
		}
	}
	return "", path
}

// containerID finds the id of the innermost container in a cgroup path. The layouts differ in what they put around it:
//
//	/docker/ID                                                   docker, cgroupfs driver
//	/system.slice/docker-ID.scope                                docker, systemd driver
//	/kubepods/burstable/podUID/ID                                Kubernetes, cgroupfs driver
//	/kubepods.slice/.../cri-containerd-ID.scope                  Kubernetes, containerd
//	/system.slice/containerd.service/kubepods-...:cri-containerd:ID   containerd under an old systemd driver
//	/kubepods.slice/.../crio-ID.scope                            Kubernetes, CRI-O
//	/machine.slice/libpod-ID.scope/container                     podman
//	/ecs/TASK/ID                                                 Amazon ECS
//
// The monitors of CRI-O and podman (crio-conmon-ID, libpod-conmon-ID) run outside the container they are named after.
func containerID(path string) string {
	id := ""
	for segment := range strings.SplitSeq(path, "/") {
		segment = strings.TrimSuffix(segment, ".scope")
		start := len(segment) - containerIDLen
		if start < 0 || !isHex(segment[start:]) {
			continue
		}
		prefix := segment[:start]
		switch {
		case strings.HasSuffix(prefix, "conmon-"):
			id = ""
		case prefix == "", strings.HasSuffix(prefix, "-"), strings.HasSuffix(prefix, ":"):
			id = segment[start:]
		}
	}
	return id
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
