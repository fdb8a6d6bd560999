// SPDX-License-Identifier: Apache-2.0

package kube

import "strings"

// Managed tells by the path of a cgroup whether a kubelet made it: only such processes are worth waiting for.
func Managed(cgroup string) bool { return strings.Contains(cgroup, "kubepods") }

// PodUID returns the uid of the pod in the path of a cgroup, "" if there is none. The layouts:
//
//	/kubepods/burstable/pod1b2c.../ID                                               cgroupfs driver
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1b2c....slice/... systemd driver, where '-' is '_'
//	/system.slice/containerd.service/kubepods-burstable-pod1b2c....slice:cri-containerd:ID
//
// The kubelet may put folders before it. A static pod goes by the hash of its configuration, 32 digits without hyphens.
func PodUID(cgroup string) string {
	_, below, ok := strings.Cut(cgroup, "kubepods")
	if !ok {
		return ""
	}
	for segment := range strings.FieldsFuncSeq(below, func(r rune) bool { return r == '/' || r == ':' }) {
		name, systemd := strings.CutSuffix(segment, ".slice")
		if i := strings.LastIndex(name, "-pod"); systemd && i >= 0 {
			name = name[i+1:]
		}
		uid, ok := strings.CutPrefix(name, "pod")
		if !ok {
			continue
		}
		if uid = strings.ReplaceAll(uid, "_", "-"); isUID(uid) {
			return uid
		}
	}
	return ""
}

// isUID tells whether s is hexadecimal digits and hyphens, as many as a uid or a hash may have.
func isUID(s string) bool {
	const longest = 64
	return s != "" && len(s) <= longest && strings.Trim(s, "0123456789abcdef-") == ""
}
