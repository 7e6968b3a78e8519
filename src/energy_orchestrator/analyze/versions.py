"""Which version of a workload ran, told from what its processes are.

A version is named by the image's digest; where none is known of the workload by the image's name; else by the checksum
of the main executable. The best that is known of any process of the workload names all of its versions, so that one
version never gets two names; a process of which it is not known is of an unknown version. A process has one version for
its life, so a version is valid from the start of its process to that of the next one.

Of the programs of a workload (a server, its shell, a sidecar) the one that used most CPU time is the main one and names
the version. Where two versions of it ran in one window (a rolling update without replicas told apart) the window is of
neither. An interpreter's checksum stays when its script changes: such a deploy shows by its image only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

MIXED_SHARE = 0.05
"""Of the main program's CPU time: what another version may use without the window being mixed."""

MIXED = "more than one ran in the same window"
NOT_SEEN = "no process of it was seen in this window"
NO_NAME = "neither image nor checksum of its main program is known"


@dataclass(frozen=True, slots=True)
class Program:
    """What is known of a process: its command, and what can name its version."""

    command: str
    image_digest: str | None = None
    image: str | None = None
    checksum: str | None = None

    def named_by(self, kind: str) -> str | None:
        """Name of its version; None where that is not known of it."""
        name: str | None = getattr(self, kind)
        return name


KINDS = ("image_digest", "image", "checksum")


@dataclass(frozen=True, slots=True)
class Label:
    """A version or a node type; `name` is None where it is unknown, for the reason."""

    name: str | None
    reason: str | None = None


def naming_kind(programs: Iterable[Program]) -> str | None:
    """The best kind of name that is known of any of them."""
    known = list(programs)
    return next((kind for kind in KINDS if any(it.named_by(kind) for it in known)), None)


def version_of(ran: Sequence[tuple[Program, float]], kind: str | None) -> Label:
    """The version in one window of one replica, from the CPU seconds of each program in it."""
    if not ran:
        return Label(None, NOT_SEEN)
    by_command: dict[str, float] = defaultdict(float)
    for program, seconds in ran:
        by_command[program.command] += seconds
    main = max(sorted(by_command), key=lambda it: by_command[it])
    by_name: dict[str | None, float] = defaultdict(float)
    for program, seconds in ran:
        if program.command == main:
            by_name[program.named_by(kind) if kind else None] += seconds
    name = max(by_name, key=lambda it: (by_name[it], it or ""))
    if sum(by_name.values()) - by_name[name] > MIXED_SHARE * by_command[main]:
        return Label(None, MIXED)
    if name is None:
        return Label(None, f"{kind.replace('_', ' ')} of its process is not known" if kind else NO_NAME)
    return Label(name)


@dataclass(frozen=True, slots=True)
class Started:
    """A process of a workload: what it is, where, and since when it ran."""

    workload: str
    host: str
    at: datetime
    program: Program


@dataclass(frozen=True, slots=True)
class Deployment:
    """One version of a program followed another. `kind` is what names them, one of `KINDS`."""

    at: datetime
    before: str
    after: str
    kind: str


def deployments(started: Iterable[Started]) -> dict[str, list[Deployment]]:
    """Changes of version by workload, oldest first. Programs are compared with their like: a helper that starts beside
    the server is no deploy. What starts is compared with what ran before it on its host, on a host that is new to the
    workload with what started last anywhere; a return to an older version is a change too."""
    by_workload: dict[str, list[Started]] = defaultdict(list)
    for it in started:
        by_workload[it.workload].append(it)
    return {workload: _changes(processes) for workload, processes in by_workload.items()}


def _changes(processes: Sequence[Started]) -> list[Deployment]:
    kind = naming_kind(it.program for it in processes)
    if kind is None:
        return []
    on_host: dict[tuple[str, str], str] = {}
    anywhere: dict[str, str] = {}
    found: dict[Deployment, None] = {}
    for it in sorted(processes, key=lambda it: it.at):
        name, command = it.program.named_by(kind), it.program.command
        if name is None:
            continue
        before = on_host.get((it.host, command)) or anywhere.get(command, name)
        on_host[it.host, command] = anywhere[command] = name
        if before != name:
            found[Deployment(it.at, before, name, kind)] = None
    return list(found)
