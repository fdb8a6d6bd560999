// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/busbar/busbar/services/probe"
)

// nobody is the user and the group that have no privileges.
const nobody = 65534

// play is what this binary does in a role.
func play(role string, args []string) error {
	switch role {
	case "server":
		return playServer()
	case "client":
		n, err := strconv.Atoi(args[1])
		return errors.Join(err, playClient(args[0], n))
	case "exporter":
		return playExporter(args[0])
	case "relay":
		return playRelay(args[0])
	case "crowd":
		n, err := strconv.Atoi(args[0])
		return errors.Join(err, playCrowd(n))
	case "island":
		return playIsland()
	case "probe":
		cfg := probe.Default()
		cfg.Bus.URL, cfg.Node = args[0], "here"
		cfg.Attached = func(tier string) { fmt.Println(tier) }
		return probe.Run(context.Background(), cfg)
	}
	return fmt.Errorf("unknown role %q", role)
}

// playServer answers with the status that the last element of the path names, and prints where it listens.
func playServer() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // of a test
		_, _ = io.Copy(io.Discard, r.Body)
		status, err := strconv.Atoi(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		if err != nil {
			status = http.StatusOK
		}
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = io.WriteString(w, "body")
		}
	}))
}

// playRelay hands requests on to another server, on connections that it keeps, and prints where it listens.
func playRelay(upstream string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // of a test
		resp, err := http.Get(upstream + r.URL.Path) //nolint:noctx,gosec // of a test
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(w, resp.Body)
	}))
}

// playCrowd starts processes that live as long as it does, and prints how many.
func playCrowd(n int) error {
	runtime.LockOSThread() // they die with the thread that started them
	for range n {
		cmd := exec.Command("sleep", "3600") //nolint:noctx // of a test
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	fmt.Println(n)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// playIsland talks to itself in namespaces of its own, and ends with its input.
func playIsland() error {
	if err := errors.Join(unix.Sethostname([]byte("island")), loopback()); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		return err
	}
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) //nolint:gosec // of a test
	}()
	if err := get("127.0.0.1", "/island"); err != nil {
		return err
	}
	fmt.Println(os.Getpid())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// loopback brings up the loopback device of a new network namespace.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request)
}

// playExporter exports traces as an SDK does, between two requests.
func playExporter(base string) error {
	for _, path := range []string{"/app/before", "/v1/traces", "/app/after"} {
		resp, err := http.Post(base+path, "application/x-protobuf", strings.NewReader("x")) //nolint:noctx,gosec // of a test
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
	}
	return nil
}

// request returns the i-th request of a client.
func request(i int) (method string, status int) {
	methods := []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodDelete}
	statuses := []int{http.StatusOK, http.StatusNoContent, http.StatusNotFound, http.StatusInternalServerError, http.StatusCreated}
	return methods[i%len(methods)], statuses[i%len(statuses)]
}

// playClient makes n requests, two thirds of them on kept connections.
func playClient(base string, n int) error {
	keep, closing := &http.Client{}, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range n {
		method, status := request(i)
		var body io.Reader
		if method == http.MethodPost {
			body = strings.NewReader(strings.Repeat("x", i*37%5000))
		}
		req, err := http.NewRequest(method, fmt.Sprintf("%s/%d/%d?token=secret-%d", base, i, status, i), body) //nolint:noctx // of a test
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "test/1")
		client := keep
		if i%3 == 0 {
			client = closing
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			return fmt.Errorf("%s: status %d, want %d", req.URL.Path, resp.StatusCode, status)
		}
	}
	return nil
}
