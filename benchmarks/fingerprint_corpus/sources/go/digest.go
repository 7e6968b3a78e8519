// Messages hashed and signed; the input is their length.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"os"
)

func sign(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}

func main() {
	length := map[string]int{"0": 64, "1": 4096, "2": 1 << 20}["0"]
	if len(os.Args) > 1 {
		length = map[string]int{"0": 64, "1": 4096, "2": 1 << 20}[os.Args[1]]
	}
	message := make([]byte, length)
	key := []byte("key")
	for {
		key = sign(key, message)
	}
}
