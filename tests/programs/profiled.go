// Writes a CPU profile and a heap profile of itself into the folder that it is given.
package main

import (
	"context"
	"os"
	"runtime"
	"runtime/pprof"
)

var kept [][]byte

//go:noinline
func inner(n int) (sum int) {
	for i := 0; i < n; i++ {
		sum += small(i)
	}
	return
}

func small(i int) int { return i * i % 7 }

//go:noinline
func work(depth int) int {
	if depth > 0 {
		return work(depth - 1)
	}
	return inner(200000000)
}

func main() {
	cpu, _ := os.Create(os.Args[1] + "/cpu")
	pprof.StartCPUProfile(cpu)
	pprof.Do(context.Background(), pprof.Labels("request_id", "r1"), func(context.Context) { work(3) })
	work(0)
	pprof.StopCPUProfile()
	cpu.Close()
	for i := 0; i < 64; i++ {
		kept = append(kept, make([]byte, 1<<20))
	}
	runtime.GC()
	heap, _ := os.Create(os.Args[1] + "/heap")
	pprof.WriteHeapProfile(heap)
	heap.Close()
}
