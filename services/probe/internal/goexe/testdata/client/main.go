// SPDX-License-Identifier: Apache-2.0

// Command client is a program with the parts of the standard library that the probe looks for.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() { fmt.Println(http.Get(os.Args[1])) }
