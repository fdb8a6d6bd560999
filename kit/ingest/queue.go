// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/busbar/busbar/kit/bus"
)

const (
	segmentBytes  = 16 << 20
	segmentSuffix = ".segment"
)

// errQueueFull means that the queue, or the disk below it, takes no more for now.
var errQueueFull = errors.New("queue on disk is full")

// queue keeps messages on disk, in the order in which they were put, until they are taken. It is a row of files, the segments:
// put appends to the last one and returns when the disk has it; the reader, of which there is one, works through the first one. A
// process that is killed leaves all that was put; the next one begins a segment of its own, since the last may end in half a frame.
//
// Lock order: syncing, then mu.
type queue struct {
	dir   string
	limit int64
	log   *slog.Logger
	lock  *os.File
	lost  func(items int) // told of records that cannot be read any more
	wake  chan struct{}   // has a token after a put

	syncing sync.Mutex // held while the disk is made to write
	synced  int64      // of written, what the disk has

	mu       sync.Mutex
	segments []segment // oldest first
	file     *os.File  // the last of segments, if it is being written
	written  int64     // bytes ever appended by this process
	bytes    int64     // of all segments
	left     backlog   // not taken yet
	broken   error     // why the disk may lack what was written up to brokenTo
	brokenTo int64

	// The reader's own.
	in    *os.File // segments[0]
	at    int64    // where the next frame begins
	place *os.File // keeps both across lives
}

type segment struct {
	number uint64
	size   int64
	left   backlog // not taken yet
}

// backlog is what waits.
type backlog struct{ messages, items int }

func (b *backlog) add(more backlog) {
	b.messages += more.messages
	b.items += more.items
}

func (b *backlog) sub(less backlog) {
	b.messages -= less.messages
	b.items -= less.items
}

// position is how far the reader has got.
type position struct {
	segment uint64
	offset  int64
	taken   backlog // since the last position
}

// openQueue opens the queue in a folder, which it makes. One process uses it at a time.
func openQueue(dir string, limit int64, lost func(items int), log *slog.Logger) (*queue, error) {
	q := &queue{dir: dir, limit: limit, log: log, lost: lost, wake: make(chan struct{}, 1)}
	if err := q.open(); err != nil {
		q.close()
		return nil, fmt.Errorf("open queue in %s: %w", dir, err)
	}
	return q, nil
}

func (q *queue) open() error {
	if err := os.MkdirAll(q.dir, 0o750); err != nil {
		return err
	}
	var err error
	if q.lock, err = os.OpenFile(filepath.Join(q.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := syscall.Flock(int(q.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return errors.New("another process uses it")
		}
		return err
	}
	if q.place, err = os.OpenFile(filepath.Join(q.dir, "position"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := q.list(); err != nil {
		return err
	}
	return q.resume()
}

// list finds the segments that are there.
func (q *queue) list() error {
	names, err := filepath.Glob(filepath.Join(q.dir, "*"+segmentSuffix))
	if err != nil {
		return err
	}
	for _, name := range names {
		number, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(name), segmentSuffix), 16, 64)
		if err != nil {
			continue // not ours
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		q.segments = append(q.segments, segment{number: number, size: info.Size()})
		q.bytes += info.Size()
	}
	slices.SortFunc(q.segments, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	return nil
}

// resume goes to where the last reader was and counts what waits.
func (q *queue) resume() error {
	last := q.readPosition()
	for len(q.segments) > 0 && q.segments[0].number < last.segment {
		if err := q.dropFirst(); err != nil {
			return err
		}
	}
	for i := range q.segments {
		s, from := &q.segments[i], int64(0)
		if s.number == last.segment {
			from = min(last.offset, s.size)
			q.at = from
		}
		if err := q.count(s, from); err != nil {
			return err
		}
		q.left.add(s.left)
	}
	if q.left.messages > 0 {
		q.wake <- struct{}{}
	}
	return nil
}

// count finds out what waits in a segment from an offset on.
func (q *queue) count(s *segment, from int64) error {
	f, err := os.Open(q.path(s.number))
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReader(io.NewSectionReader(f, from, s.size-from))
	for {
		m, _, err := readFrame(r)
		switch {
		case err == nil:
			s.left.add(backlog{1, m.Items})
		case errors.Is(err, errCorrupt): // the reader counts it as lost
		default:
			return nil // its end; if the disk cannot be read, the reader will say so
		}
	}
}

func (q *queue) path(number uint64) string {
	return filepath.Join(q.dir, fmt.Sprintf("%016x%s", number, segmentSuffix))
}

// waiting returns what was put and not taken, and the bytes on disk.
func (q *queue) waiting() (backlog, int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.left, q.bytes
}

func (q *queue) empty() bool {
	left, _ := q.waiting()
	return left.messages == 0
}

// put appends messages and returns when the disk has them. After an error it may have them or not.
func (q *queue) put(msgs []bus.Msg) error {
	var b []byte
	items := 0
	for i := range msgs {
		at := len(b)
		if b = appendFrame(b, &msgs[i]); len(b)-at-frameHead > maxFrame {
			return fmt.Errorf("message of %d bytes: %w", len(b)-at, bus.ErrTooLarge)
		}
		items += msgs[i].Items
	}
	end, err := q.write(b, backlog{len(msgs), items})
	if err == nil {
		err = q.sync(end)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", errQueueFull, err)
	}
	return err
}

// write appends b and returns how much was written by then.
func (q *queue) write(b []byte, of backlog) (end int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+int64(len(b)) > q.limit {
		return 0, errQueueFull
	}
	if q.file != nil && q.segments[len(q.segments)-1].size >= segmentBytes {
		q.seal()
	}
	if q.file == nil {
		if err := q.begin(); err != nil {
			return 0, err
		}
	}
	last := &q.segments[len(q.segments)-1]
	if _, err := q.file.WriteAt(b, last.size); err != nil {
		_ = q.file.Truncate(last.size) // the next one begins there anyway
		return 0, err
	}
	last.size += int64(len(b))
	q.bytes += int64(len(b))
	q.written += int64(len(b))
	last.left.add(of)
	q.left.add(of)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return q.written, nil
}

// begin makes the next segment. The folder is forced to disk too, or the file could be missing after a loss of power.
func (q *queue) begin() error {
	next := uint64(1)
	if n := len(q.segments); n > 0 {
		next = q.segments[n-1].number + 1
	} else if last := q.readPosition(); last.segment >= next {
		next = last.segment + 1
	}
	f, err := os.OpenFile(q.path(next), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	dir, err := os.Open(q.dir)
	if err == nil {
		err = dir.Sync()
		_ = dir.Close()
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(q.path(next))
		return err
	}
	q.file = f
	q.segments = append(q.segments, segment{number: next})
	return nil
}

// seal ends the segment that is being written, which the disk then has.
func (q *queue) seal() {
	if err := q.file.Sync(); err != nil {
		q.distrust(err)
	}
	_ = q.file.Close()
	q.file = nil
}

// distrust notes that the disk may lack what was written so far. Nobody who waits for it may be told otherwise, as the next attempt
// of the system to write the same may succeed without having done so.
func (q *queue) distrust(err error) { q.broken, q.brokenTo = err, q.written }

// sync returns when the disk has what was written up to end. One caller makes the disk write for all who came meanwhile.
func (q *queue) sync(end int64) error {
	q.syncing.Lock()
	defer q.syncing.Unlock()
	q.mu.Lock()
	file, written := q.file, q.written
	q.mu.Unlock()
	var err error
	if q.synced < end && file != nil { // else it was sealed, or taken, since
		err = file.Sync()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil && !errors.Is(err, os.ErrClosed) && q.file == file {
		q.distrust(err)
		_ = q.file.Close()
		q.file = nil
	}
	if end <= q.brokenTo {
		return q.broken
	}
	q.synced = written
	return nil
}

// next returns messages of up to about size bytes, and the position behind them; none when the queue is empty. It may return
// none, and a position, where nothing can be read any more: call done all the same.
func (q *queue) next(size int64) (msgs []bus.Msg, to position, err error) {
	q.mu.Lock()
	if len(q.segments) == 0 {
		q.mu.Unlock()
		return nil, position{}, nil
	}
	first := q.segments[0]
	q.mu.Unlock()
	if q.in == nil {
		if q.in, err = os.Open(q.path(first.number)); err != nil {
			return nil, position{}, err
		}
	}
	to = position{segment: first.number, offset: q.at}
	r := bufio.NewReader(io.NewSectionReader(q.in, q.at, first.size-q.at))
	for to.offset < first.size && to.offset-q.at < size {
		m, n, err := readFrame(r)
		switch {
		case err == nil:
			msgs = append(msgs, m)
			to.taken.add(backlog{1, m.Items})
		case errors.Is(err, errCorrupt):
			q.log.Error("queue on disk is damaged", "segment", first.number, "offset", to.offset, "records", m.Items)
			q.lost(m.Items)
		default: // where the process was killed as it wrote, there is nothing that it had promised
			rest := first.left
			rest.sub(to.taken)
			q.log.Warn("rest of a segment cannot be read", "segment", first.number, "offset", to.offset,
				"bytes", first.size-to.offset, "records", rest.items, "error", err)
			q.lost(rest.items)
			to.taken.add(rest)
			n = first.size - to.offset
		}
		to.offset += n
	}
	return msgs, to, nil
}

// done lets go of what is before to. What was put meanwhile stays.
func (q *queue) done(to position) error {
	q.syncing.Lock()
	defer q.syncing.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.segments) == 0 {
		return nil
	}
	q.at = to.offset
	q.left.sub(to.taken)
	q.segments[0].left.sub(to.taken)
	if err := q.writePosition(to); err != nil {
		q.log.Warn("how far the queue was read cannot be noted", "error", err) // some messages may come twice
	}
	if q.at < q.segments[0].size {
		return nil
	}
	if len(q.segments) == 1 {
		if q.file != nil {
			_ = q.file.Close()
			q.file = nil
		}
		q.synced = q.written // all of it is elsewhere
	}
	return q.dropFirst()
}

// dropFirst removes the oldest segment.
func (q *queue) dropFirst() error {
	if q.in != nil {
		_ = q.in.Close()
		q.in = nil
	}
	if err := os.Remove(q.path(q.segments[0].number)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	q.bytes -= q.segments[0].size
	q.segments, q.at = slices.Delete(q.segments, 0, 1), 0
	return nil
}

const positionBytes = 20 // number of the segment, offset, checksum

// writePosition notes how far the reader is. It is not forced to disk: after a loss of power some messages come twice.
func (q *queue) writePosition(to position) error {
	var b [positionBytes]byte
	binary.LittleEndian.PutUint64(b[:], to.segment)
	binary.LittleEndian.PutUint64(b[8:], uint64(to.offset)) //nolint:gosec // not negative
	binary.LittleEndian.PutUint32(b[16:], crc32.Checksum(b[:16], castagnoli))
	_, err := q.place.WriteAt(b[:], 0)
	return err
}

// readPosition returns what was noted last, zero if nothing was or it cannot be read.
func (q *queue) readPosition() position {
	var b [positionBytes]byte
	if _, err := q.place.ReadAt(b[:], 0); err != nil || binary.LittleEndian.Uint32(b[16:]) != crc32.Checksum(b[:16], castagnoli) {
		return position{}
	}
	return position{segment: binary.LittleEndian.Uint64(b[:]), offset: int64(binary.LittleEndian.Uint64(b[8:]))} //nolint:gosec // as written
}

// close lets go of the files. What waits is for the next process.
func (q *queue) close() {
	q.syncing.Lock()
	defer q.syncing.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.file != nil {
		q.seal()
	}
	for _, f := range []*os.File{q.in, q.place, q.lock} {
		if f != nil {
			_ = f.Close()
		}
	}
}
