// SPDX-License-Identifier: Apache-2.0

// Command peer is the Go server and the Go client of the accuracy matrix: net/http as everybody uses it.
//
//	peer serve PORT [TLSPORT CERTIFICATE KEY]
//	peer call URL [CERTIFICATE] < requests
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 2 && os.Args[1] == "serve":
		err = serve(os.Args[2:])
	case len(os.Args) > 2 && os.Args[1] == "call":
		err = call(os.Args[2:])
	default:
		err = fmt.Errorf("usage: peer serve|call …")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}
