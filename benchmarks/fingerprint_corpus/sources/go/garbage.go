// A map that is filled and thrown away: the garbage collector's work. The input is its size.
package main

import (
	"os"
	"strconv"
)

type session struct {
	owner string
	notes []byte
	next  *session
}

func fill(n int) map[string]*session {
	all := make(map[string]*session)
	var last *session
	for i := 0; i < n; i++ {
		last = &session{strconv.Itoa(i), make([]byte, 32+i%64), last}
		all[last.owner] = last
	}
	return all
}

func main() {
	sizes := map[string]int{"0": 500, "1": 10000, "2": 200000}
	n := 500
	if len(os.Args) > 1 {
		n = sizes[os.Args[1]]
	}
	total := 0
	for {
		total += len(fill(n))
	}
}
