// Goroutines that wait in different ways, and net/http/pprof to tell of them.
package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"sync"
)

type shop struct {
	lock   sync.Mutex
	orders chan int
}

func (s *shop) take() { <-s.orders }
func (s *shop) pay()  { s.lock.Lock() }

func main() {
	listener, _ := net.Listen("tcp", "127.0.0.1:0")
	open := &shop{orders: make(chan int)}
	open.lock.Lock()
	for i := 0; i < 50; i++ {
		go open.take()
	}
	go open.pay()
	fmt.Println("ready")
	http.Serve(listener, nil)
}
