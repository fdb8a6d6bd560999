// SPDX-License-Identifier: Apache-2.0

// Command relay serves requests by making requests, on the handler's goroutine and on others: relay URL. It says on which address it
// listens. /how/id asks for URL/how/id/1 and so on.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

var (
	client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	late   sync.Map // connection -> chan func(): what its next request is to do
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Addr())
	log.Fatal(http.Serve(l, http.HandlerFunc(serve)))
}

func call(r *http.Request, n int) {
	res, err := client.Get(fmt.Sprintf("%s%s/%d", os.Args[1], r.URL.Path, n))
	if err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
}

func serve(w http.ResponseWriter, r *http.Request) {
	switch strings.SplitN(r.URL.Path, "/", 3)[1] {
	case "direct":
		call(r, 1)
		call(r, 2)
	case "spawn":
		together(r, 1)
	case "group":
		together(r, 1, 2, 3)
	case "after": // a call between the request and the goroutines
		call(r, 1)
		together(r, 2, 3)
	case "leave": // a goroutine that calls while the next request of the connection is served
		do := make(chan bool)
		late.Store(r.RemoteAddr, do)
		go func() {
			<-do
			call(r, 1)
			do <- true
		}()
	case "next":
		if do, ok := late.LoadAndDelete(r.RemoteAddr); ok {
			do.(chan bool) <- true
			<-do.(chan bool)
		}
		call(r, 1)
	}
}

func together(r *http.Request, numbers ...int) {
	var all sync.WaitGroup
	for _, n := range numbers {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			call(r, n)
		}(n)
	}
	all.Wait()
}
