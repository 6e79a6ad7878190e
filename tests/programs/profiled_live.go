// Computes for ever, keeps a little more with each turn, and serves its profiles at a port of its own.
package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
)

var (
	sum  int
	kept [][]byte
)

//go:noinline
func keep(size int) {
	kept = append(kept, make([]byte, size))
}

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
	keep(32 << 20)
	for {
		hottest(1000000)
		keep(1 << 10)
	}
}
