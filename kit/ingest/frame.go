// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/busbar/busbar/kit/bus"
)

// A frame is a message on disk: length of the body, records inside and a checksum of both and the body, four bytes each, little
// endian; then the body. Its parts are subject, id, encoding, number of headers, their names and values, data: numbers as
// uvarint, texts after their length.
const (
	frameHead = 12
	maxFrame  = 2 << 20 // of the body: what a message may hold, and its headers
)

var (
	errTorn    = errors.New("the frame is cut off")
	errCorrupt = errors.New("the frame is damaged")

	castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // constant
)

// appendFrame appends m as a frame.
func appendFrame(b []byte, m *bus.Msg) []byte {
	at := len(b)
	b = append(b, make([]byte, frameHead)...)
	b = appendText(b, m.Subject)
	b = appendText(b, m.ID)
	b = appendText(b, m.Encoding)
	b = binary.AppendUvarint(b, uint64(len(m.Header)))
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		b = appendText(appendText(b, name), m.Header[name])
	}
	b = append(binary.AppendUvarint(b, uint64(len(m.Data))), m.Data...)

	head, body := b[at:at+frameHead], b[at+frameHead:]
	binary.LittleEndian.PutUint32(head, uint32(len(body)))                        //nolint:gosec // below 4 GiB: put checks it
	binary.LittleEndian.PutUint32(head[4:], uint32(min(m.Items, math.MaxUint32))) //nolint:gosec // bounded
	binary.LittleEndian.PutUint32(head[8:], checksum(head, body))
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func checksum(head, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:8], castagnoli), castagnoli, body)
}

// readFrame reads the next message, and how long its frame is. It returns io.EOF at a clean end, errTorn if the rest is shorter than a
// frame or makes no sense, and errCorrupt with the size and the records that the head of a damaged frame tells.
func readFrame(r *bufio.Reader) (m bus.Msg, size int64, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errTorn
		}
		return m, 0, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxFrame {
		return m, 0, errTorn
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errTorn
		}
		return m, 0, err
	}
	size = frameHead + int64(n)
	items := int(binary.LittleEndian.Uint32(head[4:]))
	if checksum(head[:], body) == binary.LittleEndian.Uint32(head[8:]) {
		m, err = parseFrame(body)
	} else {
		err = errCorrupt
	}
	m.Items = items
	return m, size, err
}

func parseFrame(b []byte) (m bus.Msg, err error) {
	p := parser{rest: b}
	m.Subject, m.ID, m.Encoding = p.text(), p.text(), p.text()
	if n := p.number(); n > 0 {
		m.Header = map[string]string{}
		for ; n > 0 && !p.bad; n-- {
			name := p.text()
			m.Header[name] = p.text()
		}
	}
	m.Data = p.bytes()
	if p.bad || len(p.rest) > 0 {
		return bus.Msg{}, errCorrupt
	}
	return m, nil
}

// parser takes the parts of a body in turn; bad tells that there was one it could not take.
type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) number() uint64 {
	n, size := binary.Uvarint(p.rest)
	if size <= 0 {
		p.bad, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[size:]
	return n
}

func (p *parser) bytes() []byte {
	n := p.number()
	if n > uint64(len(p.rest)) {
		p.bad, p.rest = true, nil
		return nil
	}
	b := p.rest[:n:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) text() string { return string(p.bytes()) }
