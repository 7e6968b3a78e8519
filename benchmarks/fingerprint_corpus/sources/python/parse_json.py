"""JSON parsed; the input is the shape of the document."""

import json
import sys

kind = int(sys.argv[1])
items = [
    {"id": i, "name": "node-%d" % i, "watts": i * 0.37}
    if kind == 0
    else [i, i * 1.5, None]
    if kind == 1
    else {"labels": {"zone": "z%d" % (i % 3)}, "tags": ["a", "b"]}
    for i in range(2000)
]
text = json.dumps(items)
while True:
    json.loads(text)
