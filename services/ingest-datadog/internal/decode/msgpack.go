// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxDepth bounds how deep msgpack may be nested. Traces need about eight levels.
const maxDepth = 64

// ErrUnfolds says that a body would take too much memory once it is read.
var ErrUnfolds = errors.New("unfolds to too much")

// A body may take so much memory once it is read, by what its parts take at least, in bytes.
const (
	mostCost      = 96 << 20
	containerCost = 256
	valueCost     = 24
)

var errTruncated = errors.New("ends early")

// sound checks that body is msgpack whose lengths fit it: a header of five bytes that promises millions of elements must not make a
// decoder allocate them. The error says at which byte.
func sound(body []byte) error {
	var left [maxDepth]uint64 // values that each open container still wants
	depth, at, cost := 0, 0, 0
	left[0] = 1
	for {
		for left[depth] == 0 {
			if depth == 0 {
				return nil // what follows the value is of no interest
			}
			depth--
		}
		left[depth]--
		size, children, err := value(body[at:])
		if err != nil {
			return fmt.Errorf("msgpack: byte %d: %w", at, err)
		}
		if cost += valueCost; container(body[at]) {
			cost += containerCost
		}
		if cost > mostCost {
			return ErrUnfolds
		}
		at += size
		if children == 0 {
			continue
		}
		if children > uint64(len(body)-at) {
			return fmt.Errorf("msgpack: byte %d: %d values announced, %d bytes follow", at, children, len(body)-at)
		}
		if depth++; depth == maxDepth {
			return fmt.Errorf("msgpack: byte %d: nested deeper than %d", at, maxDepth)
		}
		left[depth] = children
	}
}

// container tells whether a map or an array begins with a byte.
func container(lead byte) bool { return lead >= 0x80 && lead <= 0x9f || lead >= 0xdc && lead <= 0xdf }

// value returns how many bytes the value, or the header of the container, at the begin of b has, and how many values it contains.
func value(b []byte) (size int, children uint64, err error) {
	if len(b) == 0 {
		return 0, 0, errTruncated
	}
	lead := b[0]
	switch {
	case lead <= 0x7f, lead >= 0xe0, lead == 0xc0, lead == 0xc2, lead == 0xc3: // small numbers, nil, booleans
		return 1, 0, nil
	case lead <= 0x8f:
		return 1, 2 * uint64(lead&0xf), nil
	case lead <= 0x9f:
		return 1, uint64(lead & 0xf), nil
	case lead <= 0xbf:
		return need(b, 1+int(lead&0x1f))
	}
	switch lead {
	case 0xcc, 0xd0:
		return need(b, 2)
	case 0xcd, 0xd1:
		return need(b, 3)
	case 0xca, 0xce, 0xd2:
		return need(b, 5)
	case 0xcb, 0xcf, 0xd3:
		return need(b, 9)
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // fixed extensions of 1, 2, 4, 8, 16 bytes
		return need(b, 2+1<<(lead-0xd4))
	case 0xc4, 0xc5, 0xc6: // bytes
		return prefixed(b, 1<<(lead-0xc4), 0)
	case 0xc7, 0xc8, 0xc9: // extensions
		return prefixed(b, 1<<(lead-0xc7), 1)
	case 0xd9, 0xda, 0xdb: // strings
		return prefixed(b, 1<<(lead-0xd9), 0)
	case 0xdc, 0xdd: // arrays
		n, err := length(b, 2<<(lead-0xdc))
		return 1 + 2<<(lead-0xdc), n, err
	case 0xde, 0xdf: // maps
		n, err := length(b, 2<<(lead-0xde))
		return 1 + 2<<(lead-0xde), 2 * n, err
	}
	return 0, 0, fmt.Errorf("no value begins with 0x%x", lead)
}

func need(b []byte, size int) (int, uint64, error) {
	if len(b) < size {
		return 0, 0, errTruncated
	}
	return size, 0, nil
}

// prefixed is a value with a length of width bytes, and more bytes besides.
func prefixed(b []byte, width, more int) (int, uint64, error) {
	n, err := length(b, width)
	if err != nil {
		return 0, 0, err
	}
	if n > uint64(len(b)) {
		return 0, 0, errTruncated
	}
	return need(b, 1+width+more+int(n)) //nolint:gosec // no longer than b
}

func length(b []byte, width int) (uint64, error) {
	if len(b) < 1+width {
		return 0, errTruncated
	}
	switch width {
	case 1:
		return uint64(b[1]), nil
	case 2:
		return uint64(binary.BigEndian.Uint16(b[1:])), nil
	default:
		return uint64(binary.BigEndian.Uint32(b[1:])), nil
	}
}
