"""Objects with cycles: the collector's work. The input is how many."""

import sys


class Node(object):
    def __init__(self, before):
        self.before, self.after, self.notes = before, None, {"a": 1}
        if before is not None:
            before.after = self


count = [300, 5000, 50000][int(sys.argv[1])]
while True:
    last = None
    for _ in range(count):
        last = Node(last)
