// Dies in the way that its argument names, with a goroutine beside the main one.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"sync"
)

type cart struct{ total int }

type declined struct{ code int }

func (d declined) Error() string { return fmt.Sprintf("card declined (%d)", d.code) }

//go:noinline
func priceOf(c *cart) int { return c.total }

func recurse(n int) int { return recurse(n+1) + 1 }

func write(m map[int]int) {
	for i := 0; ; i++ {
		m[i%8] = i
	}
}

func main() {
	started, never := make(chan bool), make(chan bool)
	go func() {
		started <- true
		<-never
	}()
	<-started
	switch os.Args[1] {
	case "panic":
		panic("no price")
	case "nil":
		fmt.Println(priceOf(nil))
	case "error":
		panic(declined{7})
	case "wrapped":
		panic(fmt.Errorf("checkout: %w", errors.New("no stock")))
	case "goroutine":
		var group sync.WaitGroup
		group.Add(1)
		go func() {
			defer group.Done()
			panic(fmt.Sprintf("worker %d\nfailed", 3))
		}()
		group.Wait()
		<-never
	case "again":
		defer func() { panic(fmt.Sprint("again: ", recover())) }()
		panic("first")
	case "deadlock":
		var mutex sync.Mutex
		mutex.Lock()
		mutex.Lock()
	case "map":
		m := map[int]int{}
		go write(m)
		write(m)
	case "stack":
		debug.SetMaxStack(1 << 20)
		fmt.Println(recurse(0))
	case "exit":
		os.Exit(3)
	case "fatal":
		log.Fatal("no config")
	}
}
