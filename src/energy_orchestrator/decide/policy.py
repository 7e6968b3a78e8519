"""Policies: named CEL rules and modes from a YAML file. Deny wins; an evaluation error denies.

    modes:                                                     # the first that fits; what is left out fits all
      - {tenant: local, namespace: shop, suggestion_type: idle_shutdown, mode: advisory}
    policies:
      - name: production-needs-a-person
        when: workload.labels.environment == "production"     # optional; default: always
        require_approval: "true"                               # or `deny:`; a CEL expression giving a bool
        message: production is changed by people only

Expressions see `recommendation` (suggestion_type, risk_score, confidence, expected_savings_j, expected_savings_j_lower,
source, patch, risk_parts) and `workload` (key, name, labels, replicas, declared). CEL: https://cel.dev. The language
has no loops without bounds; the length of an expression is bounded too. `decision` takes the verdicts from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cel
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.decision import Mode
from energy_orchestrator.model.recommendation import SuggestionType

MAX_EXPRESSION = 2_000


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    when: str | None = Field(None, max_length=MAX_EXPRESSION)
    deny: str | None = Field(None, max_length=MAX_EXPRESSION)
    require_approval: str | None = Field(None, max_length=MAX_EXPRESSION)
    message: str = Field(min_length=1)

    @model_validator(mode="after")
    def _one_effect(self) -> _Entry:
        if (self.deny is None) == (self.require_approval is None):
            raise ValueError("give exactly one of `deny` and `require_approval`")
        return self


class ModeRule(BaseModel):
    """A mode for what fits. `namespace` is the workload's label of that name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str | None = None
    namespace: str | None = None
    suggestion_type: SuggestionType | None = None
    mode: Mode


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    modes: list[ModeRule] = []
    policies: list[_Entry]

    @model_validator(mode="after")
    def _unique(self) -> _File:
        names = [entry.name for entry in self.policies]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"policies: named twice: {', '.join(twice)}")
        return self


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one policy said."""

    policy: str
    denies: bool
    """False: it asks for an approval."""
    message: str


class Policies:
    """Compiled rules; made by `load_policies`."""

    def __init__(self, entries: list[_Entry], where: str, modes: Sequence[ModeRule] = ()) -> None:
        self._modes = tuple(modes)
        self._rules = [
            (entry, self._compile(entry.when or "true", entry, where), self._compile(_effect(entry), entry, where))
            for entry in entries
        ]

    def mode_for(self, tenant: str, namespace: str | None, suggestion_type: SuggestionType) -> Mode | None:
        """Mode of the first rule that fits; None when the file says nothing."""
        asked = (tenant, namespace, suggestion_type)
        for rule in self._modes:
            wanted = (rule.tenant, rule.namespace, rule.suggestion_type)
            if all(want is None or want == have for want, have in zip(wanted, asked, strict=True)):
                return rule.mode
        return None

    def evaluate(self, context: Mapping[str, Any]) -> list[Verdict]:
        """Every policy that applies, in the order of the file."""
        return [verdict for rule in self._rules if (verdict := self._ask(*rule, dict(context))) is not None]

    @staticmethod
    def _compile(expression: str, entry: _Entry, where: str) -> Any:
        try:
            return cel.compile(expression)
        except ValueError as error:
            raise InvalidInputError(
                f"{expression!r} is not CEL: {str(error).splitlines()[0]}",
                where=f"{where}: policy {entry.name}",
                next_step="correct the expression",
            ) from error

    @staticmethod
    def _ask(entry: _Entry, when: Any, effect: Any, context: dict[str, Any]) -> Verdict | None:
        try:
            answers = [when.execute(context)]
            if answers[0] is True:
                answers.append(effect.execute(context))
            if not all(isinstance(answer, bool) for answer in answers):
                raise TypeError(f"the result is {answers[-1]!r}, not true or false")
        except Exception as error:  # any failure of a foreign expression denies
            return Verdict(entry.name, True, f"the policy could not be evaluated ({type(error).__name__}: {error})")
        if answers != [True, True]:
            return None
        return Verdict(entry.name, entry.deny is not None, entry.message)


def _effect(entry: _Entry) -> str:
    return entry.deny if entry.deny is not None else str(entry.require_approval)


def load_policies(path: Path | None) -> Policies:
    """Read a file, or the defaults that come with the package.

    Raises:
        InvalidInputError: naming the file and the field.
    """
    name = str(path) if path else "default policies"
    source = path if path else resources.files(__package__) / "default_policies.yaml"
    try:
        content = _File.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")) or {})
    except OSError as error:
        raise InvalidInputError(f"{error.strerror}", where=name, next_step="check the path of `policies`") from error
    except yaml.YAMLError as error:
        raise InvalidInputError(f"not YAML: {error}", where=name, next_step="correct the file") from error
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        # A misspelt key explains the missing one better than the other way round.
        first = next((it for it in errors if it["type"] == "extra_forbidden"), errors[0])
        field = ".".join(map(str, first["loc"]))
        raise InvalidInputError(
            f"{field}: {str(first['msg']).removeprefix('Value error, ')}".removeprefix(": "),
            where=name,
            next_step="see decide/policy.py for the form",
        ) from error
    return Policies(content.policies, name, content.modes)
