"""The strategies in force. A new one is a file of its own and a line here; the property tests then cover it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.recommend.batching import batching
from energy_orchestrator.recommend.busy_polling import busy_polling
from energy_orchestrator.recommend.idle_shutdown import idle_shutdown
from energy_orchestrator.recommend.observation import Finding, Observation
from energy_orchestrator.recommend.right_size import right_size
from energy_orchestrator.recommend.thread_oversubscription import thread_oversubscription

Strategy = Callable[[Observation, Sequence[float | None]], Finding | None]

STRATEGIES: Mapping[str, tuple[Strategy, SuggestionType]] = {
    "batching": (batching, SuggestionType.BATCHING),
    "thread_oversubscription": (thread_oversubscription, SuggestionType.RUNTIME_FLAGS),
    "busy_polling": (busy_polling, SuggestionType.RUNTIME_FLAGS),
    "right_size": (right_size, SuggestionType.RIGHT_SIZE),
    "idle_shutdown": (idle_shutdown, SuggestionType.IDLE_SHUTDOWN),
}
