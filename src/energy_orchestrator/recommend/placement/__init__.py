"""Placement: which nodes may sleep, and where their work goes.

`fleet` holds the columns of nodes, groups of replicas and where they are; `greedy` empties nodes one by one;
`solver` asks OR-Tools CP-SAT for the least energy, beginning at the greedy answer; `plan` cuts large fleets into
blocks, bounds the time, and makes ordered moves of the answer. `advice` turns a plan into findings.
"""
