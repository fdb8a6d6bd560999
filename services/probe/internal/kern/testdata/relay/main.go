// SPDX-License-Identifier: Apache-2.0

// Command relay serves requests by making requests, on the handler's goroutine and on others. It says on which address it listens.
// /how/id asks for URL/how/id/1 and so on.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

var (
	version = flag.Uint("tls", 0, "serve TLS of this version (771 is 1.2)")
	client  = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	late    sync.Map // connection -> chan bool: lets the goroutine that its last request left behind go on
)

func main() {
	flag.Parse()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	if *version != 0 {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate()}, MaxVersion: uint16(*version)})
	}
	fmt.Println(l.Addr())
	log.Fatal(http.Serve(l, http.HandlerFunc(serve)))
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func call(r *http.Request, n int) {
	if flag.Arg(0) == "" {
		return // the end of the chain
	}
	res, err := client.Get(fmt.Sprintf("%s%s/%d", flag.Arg(0), r.URL.Path, n))
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
		if do, ok := late.Load(r.RemoteAddr); ok {
			late.Delete(r.RemoteAddr)
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
