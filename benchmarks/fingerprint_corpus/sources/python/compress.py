"""Blocks compressed with zlib; the input is what is in them."""

import random
import sys
import zlib

kind, chosen = int(sys.argv[1]), random.Random(7)
if kind == 2:
    data = bytes(chosen.getrandbits(7) for _ in range(500000))
else:
    words = (
        ["the node %d is idle " % i for i in range(16)] if kind == 0 else ['{"id": %d}' % (i * 31) for i in range(9999)]
    )
    data = "".join(chosen.choice(words) for _ in range(30000)).encode()
while True:
    zlib.compress(data, 6)
