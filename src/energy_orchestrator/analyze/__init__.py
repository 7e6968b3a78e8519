"""Analyze: from samples to joules. Pure functions on arrays and plain values; `services/analyzer.py` does the I/O.

`estimator` gives the power of a node without a meter, `node_power` picks the best tier, `attribution` splits a node's
energy among its workloads, `operations` divides by what was done, `function_energy` by where the CPU time went.
"""
