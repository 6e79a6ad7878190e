// Computes for ever, and serves its profiles at a port of its own.
package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
)

var sum int

//go:noinline
func hottest(n int) {
	for i := 0; i < n; i++ {
		sum += i * i % 7
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(listener, nil)
	fmt.Println("ready")
	for {
		hottest(1000000)
	}
}
