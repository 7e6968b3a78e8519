"""`replace_section` for tools and benchmarks: the one that `eo estimator evaluate` uses."""

from energy_orchestrator.services.report_sections import replace_section

__all__ = ["replace_section"]
