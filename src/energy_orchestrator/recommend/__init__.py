"""Recommend: strategies that turn what was observed of a workload into changes worth trying.

One file per strategy, each a pure function from an Observation to a Finding or None; `catalogue` lists them,
`ranking` makes Recommendations of the findings, bounds the savings, resolves conflicts and puts the best first.
"""
