// SPDX-License-Identifier: Apache-2.0

package dogstatsd

import (
	"encoding/binary"
	"net"
	"syscall"
)

// overflow reads datagrams, and learns from the kernel how many it had no room for.
type overflow struct {
	udp  *net.UDPConn
	unix net.PacketConn
	seen uint32
	oob  []byte
}

// rxqOvfl is SO_RXQ_OVFL: with each datagram comes how many were lost before it.
const rxqOvfl = 40

func newOverflow(c net.PacketConn) (*overflow, error) {
	udp, ok := c.(*net.UDPConn)
	if !ok {
		return &overflow{unix: c}, nil // its senders wait, or are told
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, rxqOvfl, 1)
	})
	if err != nil {
		return nil, err
	}
	return &overflow{udp: udp, oob: make([]byte, syscall.CmsgSpace(4))}, failed
}

// read reads a datagram, and returns how many were lost since the last one.
func (o *overflow) read(packet []byte) (n, lost int, err error) {
	if o.udp == nil {
		n, _, err = o.unix.ReadFrom(packet)
		return n, 0, err
	}
	n, size, _, _, err := o.udp.ReadMsgUDPAddrPort(packet, o.oob)
	if err != nil {
		return 0, 0, err
	}
	if all, err := syscall.ParseSocketControlMessage(o.oob[:size]); err == nil {
		for _, m := range all {
			if m.Header.Level == syscall.SOL_SOCKET && m.Header.Type == rxqOvfl && len(m.Data) >= 4 {
				now := binary.NativeEndian.Uint32(m.Data)
				lost, o.seen = int(now-o.seen), now
			}
		}
	}
	return n, lost, nil
}
