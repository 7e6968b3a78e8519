"""Tuples sorted with a key; the input is how many."""

import random
import sys

count, chosen = [500, 10000, 100000][int(sys.argv[1])], random.Random(7)
while True:
    rows = [(chosen.random(), "node-%d" % i) for i in range(count)]
    rows.sort(key=lambda row: row[0])
    rows.sort(key=lambda row: row[1])
