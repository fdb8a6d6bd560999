// SPDX-License-Identifier: Apache-2.0

package kern

import "golang.org/x/sys/unix"

// callKinds tells the programs of tier syscall what to make of a system call by its number on this architecture; the kinds
// are those of enum call_kind in bpf/lib/call.h.
func callKinds() [512]uint8 {
	var kinds [512]uint8
	for kind, number := range []int{
		1: unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_RECVFROM, unix.SYS_SENDTO, unix.SYS_RECVMSG,
		unix.SYS_SENDMSG, unix.SYS_RECVMMSG, unix.SYS_SENDMMSG, unix.SYS_SENDFILE, unix.SYS_SPLICE,
	} {
		if kind > 0 {
			kinds[number] = uint8(kind) //nolint:gosec // a small index
		}
	}
	return kinds
}
