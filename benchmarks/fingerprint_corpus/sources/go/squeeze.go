// Blocks compressed with compress/flate; the input is what is in them.
package main

import (
	"bytes"
	"compress/flate"
	"fmt"
	"os"
)

func block(kind string) []byte {
	var out bytes.Buffer
	state := uint32(7)
	for out.Len() < 1<<20 {
		state = state*1664525 + 1013904223
		switch kind {
		case "1":
			fmt.Fprintf(&out, `{"id": %d, "watts": %d}`, state>>20, state>>24)
		case "2":
			out.WriteByte(byte(state >> 24))
		default:
			fmt.Fprintf(&out, "the node %d is idle ", state>>28)
		}
	}
	return out.Bytes()
}

func squeeze(data []byte) int {
	var out bytes.Buffer
	writer, _ := flate.NewWriter(&out, 6)
	writer.Write(data)
	writer.Close()
	return out.Len()
}

func main() {
	kind := "0"
	if len(os.Args) > 1 {
		kind = os.Args[1]
	}
	data := block(kind)
	for {
		squeeze(data)
	}
}
