"""Benchmarks: ratios within one run. `python -m benchmarks.run` writes the results page."""
