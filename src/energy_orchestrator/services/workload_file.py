"""Reads the file of declared workloads. It is checked as a whole before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.workload import Declaration, WorkloadFile

MAX_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class DeclaredWorkloads:
    """Declarations by workload key, and the folder that relative paths in them begin at."""

    by_key: dict[str, Declaration]
    folder: Path


def load_workloads(path: Path | None) -> DeclaredWorkloads:
    """Read the file; without one nothing is declared.

    Raises:
        InvalidInputError: naming the file, the workload and the field.
    """
    if path is None:
        return DeclaredWorkloads({}, Path.cwd())
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInputError(f"larger than {MAX_BYTES} bytes", where=str(path), next_step="split it")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(str(error.strerror), where=str(path), next_step="check --workloads") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"not YAML: {error}", where=str(path), next_step="correct the file") from error
    try:
        file = WorkloadFile.model_validate(content or {})
    except ValidationError as error:
        raise _readable(error, path, content) from error
    return DeclaredWorkloads({declaration.key: declaration for declaration in file.workloads}, path.parent.resolve())


def _readable(error: ValidationError, path: Path, content: object) -> InvalidInputError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = [part for part in first["loc"] if "[" not in str(part)]  # the branch of a union means nothing to a person
    if len(place) > 1 and place[0] == "workloads" and isinstance(place[1], int) and isinstance(content, dict):
        entry = content["workloads"][place[1]]
        place[1] = entry.get("name", place[1]) if isinstance(entry, dict) else place[1]
    message = str(first["msg"]).removeprefix("Value error, ")
    return InvalidInputError(
        message, where=f"{path}: {'.'.join(map(str, place))}", next_step="correct it; nothing was started"
    )
