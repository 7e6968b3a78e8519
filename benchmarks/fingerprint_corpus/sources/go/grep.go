// Lines matched with regexp; the input is the pattern.
package main

import (
	"fmt"
	"os"
	"regexp"
)

func matching(pattern *regexp.Regexp, lines []string) int {
	n := 0
	for _, line := range lines {
		if pattern.FindStringSubmatchIndex(line) != nil {
			n++
		}
	}
	return n
}

func main() {
	patterns := map[string]string{"0": `GET (/[a-z0-9/]+)\?id=(\d+)`, "1": `(host|node)-\d+ .* (\d+)ms$`, "2": `[aeiou]{2}.*(0|5)ms`}
	kind := "0"
	if len(os.Args) > 1 {
		kind = os.Args[1]
	}
	var lines []string
	for i := 0; i < 500; i++ {
		lines = append(lines, fmt.Sprintf("2026-11-0%d host-%d GET /api/v1/nodes?id=%d 200 %dms", i%9, i, i*31, i*17))
	}
	pattern := regexp.MustCompile(patterns[kind])
	for {
		matching(pattern, lines)
	}
}
