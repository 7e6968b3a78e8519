"""The estimator of node power: what a node without a meter draws, from its hardware, its load and a reading or two.

`model` predicts (start there), `training` fits, `evaluation` scores on CPU models held out, `prediction_table` reads
and writes the columns of `eo estimator predict`. Beside it: `operations`, joules per operation of a workload on a type
of node where it was not measured (`operations_table`: `eo estimator operations`).
"""

from energy_orchestrator.analyze.estimator.cpu_names import canonical_cpu
from energy_orchestrator.analyze.estimator.curve import PowerCurve
from energy_orchestrator.analyze.estimator.hardware import NodeHardware
from energy_orchestrator.analyze.estimator.model import MODEL_FILE, PowerModel, default_model

__all__ = ["MODEL_FILE", "NodeHardware", "PowerCurve", "PowerModel", "canonical_cpu", "default_model"]
