// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxDepth bounds how deep messages may be nested, as most decoders of protobuf do.
const maxDepth = 100

// errOld means that a request has scopes of before OTLP 0.15, which the decoder translates.
var errOld = errors.New("a request of an OTLP before 0.15")

// scan checks a message that lies in b[pos:end], with all below it, and counts the records.
func scan(b []byte, t message, pos, end, depth int) (records int, err error) {
	if depth > maxDepth {
		return 0, fmt.Errorf("%s at byte %d: nested more than %d deep", names[t], pos, maxDepth)
	}
	known := &schema[t]
	for pos < end {
		at := pos
		tag := uint64(b[pos])
		if pos++; tag >= 0x80 {
			if tag, pos = longVarint(b, at, end); pos < 0 {
				return 0, fault(t, 0, at, "it is cut off or no number")
			}
		}
		number, form := tag>>3, protowire.Type(tag&7)
		if number == 0 || number > uint64(protowire.MaxValidNumber) {
			return 0, fault(t, 0, at, "there is no such field")
		}
		var start int
		if start, pos = value(b, form, pos, end); pos < 0 {
			return 0, fault(t, number, at, "it is cut off, or of no kind that OTLP has")
		}
		if number > maxField {
			if number == oldScopesField && resourceSpans <= t && t <= resourceLogs {
				return 0, errOld
			}
			continue
		}
		f := known[number]
		if forms[f.kind]&(1<<form) == 0 || f.kind >= traceID && !f.kind.fits(form, b[start:pos]) {
			return 0, fault(t, number, at, "it is of the wrong type or length")
		}
		if f.kind == below {
			n, err := scan(b, f.below, start, pos, depth+1)
			if err != nil {
				return 0, err
			}
			records += n + counts[f.below]
		}
	}
	return records, nil
}

func fault(t message, number uint64, at int, what string) error {
	if number == 0 {
		return fmt.Errorf("%s, field at byte %d: %s", names[t], at, what)
	}
	return fmt.Errorf("%s, field %d at byte %d: %s", names[t], number, at, what)
}

// value returns where the value of a field begins, after its length if it has one, and where it ends, or -1.
func value(b []byte, form protowire.Type, pos, end int) (start, stop int) {
	switch form {
	case protowire.BytesType:
		n, at := uint64(0), pos+1
		if pos < end && b[pos] < 0x80 {
			n = uint64(b[pos])
		} else if n, at = longVarint(b, pos, end); at < 0 {
			return 0, -1
		}
		if n > uint64(end-at) { //nolint:gosec // at is within
			return 0, -1
		}
		return at, at + int(n) //nolint:gosec // n is within
	case protowire.VarintType:
		_, stop = longVarint(b, pos, end)
		return pos, stop
	case protowire.Fixed64Type:
		stop = pos + 8
	case protowire.Fixed32Type:
		stop = pos + 4
	default: // groups, which OTLP never had
		return 0, -1
	}
	if stop > end {
		return 0, -1
	}
	return pos, stop
}

const (
	formVarint  = 1 << protowire.VarintType
	formFixed64 = 1 << protowire.Fixed64Type
	formFixed32 = 1 << protowire.Fixed32Type
	formBytes   = 1 << protowire.BytesType
)

// forms are those in which a kind may come on the wire.
var forms = [...]uint8{ //nolint:gochecknoglobals // constant
	unknown: formVarint | formFixed64 | formFixed32 | formBytes, varint: formVarint, fixed64: formFixed64, fixed32: formFixed32,
	text: formBytes, below: formBytes, traceID: formBytes, spanID: formBytes, varints: formVarint | formBytes, fixed64s: formFixed64 | formBytes,
}

// fits tells whether a value in one of its forms is what a field of this kind may hold.
func (k kind) fits(form protowire.Type, value []byte) bool {
	switch {
	case form != protowire.BytesType:
		return true
	case k == traceID:
		return len(value) == 16 || len(value) == 0
	case k == spanID:
		return len(value) == 8 || len(value) == 0
	case k == fixed64s:
		return len(value)%8 == 0
	default:
		return packed(value)
	}
}

// packed tells whether b is a row of varints.
func packed(b []byte) bool {
	for pos := 0; pos < len(b); {
		if _, pos = longVarint(b, pos, len(b)); pos < 0 {
			return false
		}
	}
	return true
}

// longVarint returns the number at b[pos] and where it ends, or -1.
func longVarint(b []byte, pos, end int) (uint64, int) {
	if pos < end && b[pos] < 0x80 {
		return uint64(b[pos]), pos + 1
	}
	v, n := binary.Uvarint(b[pos:end])
	if n <= 0 {
		return 0, -1
	}
	return v, pos + n
}

// each calls fn with the fields of a message, up to where it is not sound: number, the whole field, and what is in it if it has a length,
// which is never nil then.
func each(b []byte, fn func(number uint64, whole, inside []byte) bool) {
	for pos := 0; pos < len(b); {
		at := pos
		tag, start := longVarint(b, pos, len(b))
		if start < 0 {
			return
		}
		form := protowire.Type(tag & 7)
		if start, pos = value(b, form, start, len(b)); pos < 0 {
			return
		}
		var inside []byte
		if form == protowire.BytesType {
			inside = b[start:pos:pos]
		}
		if !fn(tag>>3, b[at:pos], inside) {
			return
		}
	}
}
