"""Verify: is the canary better than the baseline, and does it still keep its SLO?

`judge` compares two columns of numbers; `analysis` puts the metrics of a rollout step together, SLO first, energy
second; `savings` turns a comparison into joules. All pure: windows and the time come in as arguments.
"""
