// Documents decoded with encoding/json; the input is their shape.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type reading struct {
	ID     int               `json:"id"`
	Name   string            `json:"name"`
	Watts  float64           `json:"watts"`
	Labels map[string]string `json:"labels"`
}

func document(kind string) []byte {
	var out []string
	for i := 0; i < 1000; i++ {
		switch kind {
		case "1":
			out = append(out, fmt.Sprintf(`{"id":%d,"watts":%f}`, i, float64(i)*0.37))
		case "2":
			out = append(out, fmt.Sprintf(`{"name":"node-%d","labels":{"zone":"z%d","kind":"batch"}}`, i, i%3))
		default:
			out = append(out, fmt.Sprintf(`{"id":%d,"name":"n%d","watts":1.5,"labels":{"a":"b"}}`, i, i))
		}
	}
	return []byte("[" + strings.Join(out, ",") + "]")
}

func main() {
	kind := "0"
	if len(os.Args) > 1 {
		kind = os.Args[1]
	}
	text := document(kind)
	for {
		var all []reading
		if err := json.Unmarshal(text, &all); err != nil {
			panic(err)
		}
	}
}
