"""Lines matched with re; the input is the pattern."""

import re
import sys

patterns = [r"GET (/[a-z0-9/]+)\?id=(\d+)", r"(host|node)-\d+ .* (\d+)ms$", r"[aeiou]{2}.*(0|5)ms"]
pattern = re.compile(patterns[int(sys.argv[1])])
lines = ["2026-11-0%d host-%d GET /api/v1/nodes?id=%d 200 %dms" % (i % 9, i, i * 31, i * 17) for i in range(500)]
while True:
    for line in lines:
        pattern.search(line)
