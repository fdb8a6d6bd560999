// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/kit/bus"
)

func open(t *testing.T, dir string, limit int64) *queue {
	t.Helper()
	q, err := openQueue(dir, limit, func(items int) { t.Logf("%d records lost", items) }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// drainAll takes all that waits.
func drainAll(t *testing.T, q *queue) []bus.Msg {
	t.Helper()
	var all []bus.Msg
	for {
		msgs, to, err := q.next(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if to.segment == 0 {
			return all
		}
		all = append(all, msgs...)
		if err := q.done(to); err != nil {
			t.Fatal(err)
		}
	}
}

func ids(msgs []bus.Msg) []int {
	var all []int
	for i := range msgs {
		id, _ := strconv.Atoi(msgs[i].ID)
		all = append(all, id)
	}
	return all
}

func count(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestQueueKeepsMessagesAsTheyAre(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := []bus.Msg{message(0, 10), {Subject: "a", ID: "b", Data: []byte{}}, message(2, 300<<10)}
	q := open(t, dir, 1<<20)
	if err := q.put(want); err != nil {
		t.Fatal(err)
	}
	q.close()
	q = open(t, dir, 1<<20)
	defer q.close()
	if left, size := q.waiting(); left != (backlog{3, 4}) || size < 300<<10 {
		t.Errorf("%v wait, %d bytes", left, size)
	}
	if d := cmp.Diff(want, drainAll(t, q)); d != "" {
		t.Errorf("messages (-want +got):\n%s", d)
	}
	if left, size := q.waiting(); left != (backlog{}) || size != 0 {
		t.Errorf("%v wait in the end, %d bytes", left, size)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix)); len(files) != 0 {
		t.Errorf("files are left: %v", files)
	}
}

// Over many segments and lives, of which each takes a part, all come once and in order.
func TestQueueGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var got []int
	const lives, each = 4, 25
	for life := range lives {
		q := open(t, dir, 1<<30)
		for i := range each {
			if err := q.put([]bus.Msg{message(life*each+i, 500<<10)}); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			msgs, to, err := q.next(3 << 20)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ids(msgs)...)
			if err := q.done(to); err != nil {
				t.Fatal(err)
			}
		}
		q.close()
	}
	q := open(t, dir, 1<<30)
	defer q.close()
	if left, _ := q.waiting(); left.messages != lives*each-len(got) {
		t.Errorf("%v wait after %d were taken", left, len(got))
	}
	got = append(got, ids(drainAll(t, q))...)
	if d := cmp.Diff(count(lives*each), got); d != "" {
		t.Errorf("messages (-want +got):\n%s", d)
	}
}

func TestQueueIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	q := open(t, t.TempDir(), 1<<30)
	defer q.close()
	const writers, each = 8, 50
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				if err := q.put([]bus.Msg{message(w*each+i, 50<<10)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var got []int
	for len(got) < writers*each && !t.Failed() {
		got = append(got, ids(drainAll(t, q))...)
	}
	writing.Wait()
	slices.Sort(got)
	if d := cmp.Diff(count(writers*each), got); d != "" {
		t.Errorf("messages (-want +got):\n%s", d)
	}
}

func TestQueueIsFull(t *testing.T) {
	t.Parallel()
	q := open(t, t.TempDir(), 100<<10)
	defer q.close()
	n := 0
	var err error
	for ; err == nil; n++ {
		err = q.put([]bus.Msg{message(n, 10<<10)})
	}
	if !errors.Is(err, errQueueFull) || n != 10 {
		t.Fatalf("put %d: %v", n, err)
	}
	if got := ids(drainAll(t, q)); len(got) != n-1 {
		t.Errorf("has %v", got)
	}
	if err := q.put([]bus.Msg{message(n, 10)}); err != nil {
		t.Errorf("after it was emptied: %v", err)
	}
}

// A disk that is full leaves what was put before, and takes again once it has room.
func TestQueueOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("busbar", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	q := open(t, dir, 1<<30)
	defer q.close()
	n := 0
	for ; ; n++ {
		if err := q.put([]bus.Msg{message(n, 30<<10)}); err != nil {
			if !errors.Is(err, errQueueFull) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
	}
	if err := q.put([]bus.Msg{message(n, 1)}); err != nil && !errors.Is(err, errQueueFull) {
		t.Fatal(err)
	}
	got := drainAll(t, q)
	if d := cmp.Diff(count(n), ids(got)[:n]); d != "" || n == 0 {
		t.Errorf("%d messages (-want +got):\n%s", n, d)
	}
	if err := q.put([]bus.Msg{message(n+1, 30<<10)}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestQueueIsForOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := open(t, dir, 1<<20)
	defer q.close()
	if _, err := openQueue(dir, 1<<20, nil, nil); err == nil {
		t.Error("two have the same queue")
	}
}

// What cannot be read is counted, and the rest comes.
func TestQueueThatIsDamaged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(b []byte) []byte
		want   []int
		lost   int
	}{
		{"a byte is another", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, []int{0, 1, 3, 4}, 3},
		{"the end is missing", func(b []byte) []byte { return b[:len(b)-3] }, []int{0, 1, 2, 3}, 0},
		{"the end is noise", func(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9) }, []int{0, 1, 2, 3, 4}, 0},
		{"it is empty", func([]byte) []byte { return nil }, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			q := open(t, dir, 1<<20)
			for i := range 5 {
				if err := q.put([]bus.Msg{message(i, 1000)}); err != nil {
					t.Fatal(err)
				}
			}
			file := q.path(1)
			q.close()
			b, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file, tc.damage(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			lost := 0
			q, err = openQueue(dir, 1<<20, func(items int) { lost += items }, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer q.close()
			if err := q.put([]bus.Msg{message(9, 10)}); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(append(tc.want, 9), ids(drainAll(t, q))); d != "" {
				t.Errorf("messages (-want +got):\n%s", d)
			}
			left, _ := q.waiting()
			if lost != tc.lost || left != (backlog{}) {
				t.Errorf("%d records lost, want %d; %v wait", lost, tc.lost, left)
			}
		})
	}
}

// A process that is killed at any moment leaves all that it had acknowledged.
func TestQueueOfAProcessThatIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := map[int]bool{}
	for round := range 5 {
		cmd, out := launch(t, "writer "+dir)
		for range 50 * (round + 1) {
			if !out.Scan() {
				t.Fatal("the writer ended")
			}
			n, err := strconv.Atoi(out.Text())
			if err != nil {
				t.Fatal(err)
			}
			acknowledged[n] = true
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for out.Scan() {
			if n, err := strconv.Atoi(out.Text()); err == nil {
				acknowledged[n] = true
			}
		}
		_ = cmd.Wait() // killed
	}
	q := open(t, dir, 1<<30)
	defer q.close()
	for _, m := range drainAll(t, q) {
		n, _ := strconv.Atoi(m.ID)
		if d := cmp.Diff(message(n, 100), m); d != "" {
			t.Fatalf("message %d (-want +got):\n%s", n, d)
		}
		delete(acknowledged, n)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged messages are missing", len(acknowledged))
	}
}

// FuzzFrame: what is not a frame is an error, and a frame that is read is the one that would be written.
func FuzzFrame(f *testing.F) {
	m := message(1, 40)
	f.Add(appendFrame(nil, &m))
	f.Add(appendFrame(appendFrame(nil, &bus.Msg{}), &m))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			m, size, err := readFrame(r)
			if errors.Is(err, errTorn) || errors.Is(err, io.EOF) {
				return
			}
			if size < frameHead || size > int64(len(b)) {
				t.Fatalf("a frame of %d bytes in %d", size, len(b))
			}
			if err != nil {
				continue
			}
			again, _, err := readFrame(bufio.NewReader(bytes.NewReader(appendFrame(nil, &m))))
			if d := cmp.Diff(m, again); d != "" || err != nil {
				t.Fatalf("written and read again: %v\n%s", err, d)
			}
		}
	})
}
