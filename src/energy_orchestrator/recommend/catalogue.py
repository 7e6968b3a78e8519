"""The strategies in force. A new one is a file of its own and a line here; the property tests then cover it.

`STRATEGIES` look at one observed workload and run on live data. `FROM_FILES` need what no live data carries yet (node
watts asleep, sweeps, forecasts, images that never ran) and run on a fleet file: `eo recommendations plan --fleet FILE`.
`version.py` looks at J/op by version of a day and runs in the batch (`services/version_advice.py`).
`EXECUTED` are the kinds that an executor can carry out, at least for a declared workload; all others are advice for a
person, and their change says `executor: none`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.recommend.batching import batching
from energy_orchestrator.recommend.busy_polling import busy_polling
from energy_orchestrator.recommend.code_path import code_path
from energy_orchestrator.recommend.idle_shutdown import idle_shutdown
from energy_orchestrator.recommend.observation import Finding, Observation
from energy_orchestrator.recommend.playbook import Measured
from energy_orchestrator.recommend.right_size import right_size
from energy_orchestrator.recommend.thread_oversubscription import thread_oversubscription

Strategy = Callable[[Observation, Measured], Finding | None]

STRATEGIES: Mapping[str, tuple[Strategy, SuggestionType]] = {
    "batching": (batching, SuggestionType.BATCHING),
    "thread_oversubscription": (thread_oversubscription, SuggestionType.RUNTIME_FLAGS),
    "busy_polling": (busy_polling, SuggestionType.RUNTIME_FLAGS),
    "right_size": (right_size, SuggestionType.RIGHT_SIZE),
    "code_path": (code_path, SuggestionType.CODE_PATH),
    "idle_shutdown": (idle_shutdown, SuggestionType.IDLE_SHUTDOWN),
}

FROM_FILES: Mapping[str, SuggestionType] = {
    "placement": SuggestionType.PLACEMENT,
    "instance_type": SuggestionType.INSTANCE_TYPE,
    "batch_sweep": SuggestionType.BATCHING,
    "power_cap": SuggestionType.POWER_CAP,
    "schedule_shift": SuggestionType.SCHEDULE_SHIFT,
    "image": SuggestionType.IMAGE,
}
EXECUTED = frozenset(
    {
        SuggestionType.BATCHING,
        SuggestionType.RUNTIME_FLAGS,
        SuggestionType.RIGHT_SIZE,
        SuggestionType.IDLE_SHUTDOWN,
    }
)
