// main.main -> main.alpha -> main.beta -> main.gamma -> main.step, and the same in four goroutines from main.worker.
package main

var sink uint64

//go:noinline
func step(x uint64) uint64 { return x*6364136223846793005 + 1442695040888963407 }

//go:noinline
func gamma(values []uint64) uint64 {
	x := uint64(len(values))
	for i := range values {
		values[i] = step(values[i] + x)
		x ^= values[i]
	}
	return x
}

//go:noinline
func beta(values []uint64) uint64 { return gamma(values)*3 + 1 }

//go:noinline
func alpha(values []uint64) uint64 { return beta(values) + beta(values) }

//go:noinline
func worker() {
	values := make([]uint64, 20000)
	for {
		sink = alpha(values)
	}
}

func main() {
	for i := 0; i < 3; i++ {
		go worker()
	}
	worker()
}
