"""What a change saved: measured windows in, joules with a 90 % interval and the name of the method out.

`choose.measure` takes the best of three methods that the data allow: `side_by_side`, `difference` (in differences)
and `load_adjusted`. `judged` reads the figures back from an analysis run, for the records and the playbook.
"""

from energy_orchestrator.verify.savings.choose import Control, Evidence, measure
from energy_orchestrator.verify.savings.difference import measured_enough
from energy_orchestrator.verify.savings.judged import per_day, per_operation, ratio, watts

__all__ = ["Control", "Evidence", "measure", "measured_enough", "per_day", "per_operation", "ratio", "watts"]
