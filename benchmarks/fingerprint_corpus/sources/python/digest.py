"""Messages hashed with hashlib; the input is their length."""

import hashlib
import sys

data = b"x" * [200, 10000, 1000000][int(sys.argv[1])]
while True:
    hashlib.blake2b(hashlib.md5(data).digest() + data).digest()
