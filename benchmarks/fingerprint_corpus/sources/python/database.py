"""A table in sqlite3; the input is the kind of statement."""

import sqlite3
import sys

kind = int(sys.argv[1])
base = sqlite3.connect(":memory:")
base.execute("CREATE TABLE run (id INTEGER, node TEXT, watts REAL)")
while True:
    base.executemany("INSERT INTO run VALUES (?, ?, ?)", [(i, "n%d" % (i % 50), i * 0.37) for i in range(5000)])
    if kind == 0:
        base.execute("SELECT node, sum(watts), count(*) FROM run GROUP BY node ORDER BY 2").fetchall()
    elif kind == 1:
        base.execute("SELECT max(watts) FROM run WHERE node LIKE '%7' AND id % 3 = 1").fetchall()
    else:
        base.execute("SELECT a.id FROM run a WHERE a.watts > (SELECT avg(watts) FROM run) ORDER BY a.node").fetchall()
    base.execute("DELETE FROM run")
