"""Errors, divided by what the caller should do next.

Every error says what is wrong, where, and what to do about it. The CLI maps a class to an exit code and the
HTTP API maps it to a status; nothing else decides that.
"""

from __future__ import annotations


class EoError(Exception):
    """Base of all errors that a person or a program is meant to read.

    Args:
        what: what is wrong, in one sentence.
        where: the field, file, line or address concerned.
        next_step: what to do about it.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, what: str, *, where: str | None = None, next_step: str | None = None) -> None:
        self.what = what
        self.where = where
        self.next_step = next_step
        super().__init__(self.describe())

    def describe(self) -> str:
        """The whole message: place, fault and next step."""
        place = f"{self.where}: " if self.where else ""
        hint = f" Next: {self.next_step}" if self.next_step else ""
        return f"{place}{self.what}{hint}"


class InvalidInputError(EoError):
    """The input is wrong: correct it and call again. Nothing was changed."""

    exit_code = 2
    http_status = 422


class UnavailableError(EoError):
    """A part that is needed does not answer now: the same call may succeed later."""

    exit_code = 3
    http_status = 503


class DeniedError(EoError):
    """A policy, a pause or a missing right forbids it: asking again changes nothing."""

    exit_code = 4
    http_status = 403


class NotFoundError(EoError):
    """What was named does not exist."""

    exit_code = 5
    http_status = 404


class ConflictError(EoError):
    """The thing exists but is in a state that does not allow this (expired, executed before)."""

    exit_code = 6
    http_status = 409
