"""Which samples are meant: `http_requests_total{code=~"5..",method!="OPTIONS"}`, as PromQL writes it. Pure.

A label that a sample lacks is the empty text, regular expressions match the whole value, and a sample has to satisfy
every matcher. Python's expressions stand in for RE2's: what RE2 knows, Python knows, apart from `\\z` and `\\C`.

https://prometheus.io/docs/prometheus/latest/querying/basics/#instant-vector-selectors
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label."""

    label: str
    operator: str
    value: str

    def accepts(self, value: str) -> bool:
        """Whether a label with this value (empty: no such label) satisfies the condition."""
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        return (_expression(self.value).fullmatch(value) is not None) == (self.operator == "=~")

    @property
    def needs_label(self) -> bool:
        """Samples of a family that nowhere has the label can't be told apart by it: what matches is unknown, not 0.
        `label!=""` asks for the label itself, so there its absence is an answer."""
        return not self.accepts("") and (self.operator, self.value) != ("!=", "")


@dataclass(frozen=True, slots=True)
class Selector:
    """A name and conditions on its labels."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a sample of that name with these labels is meant."""
        return all(matcher.accepts(labels.get(matcher.label, "")) for matcher in self.matchers)


@lru_cache(maxsize=1024)
def parse_selector(text: str) -> Selector:
    """`name` or `name{matchers}`; ValueError says what is wrong with it."""
    name, brace, rest = text.strip().partition("{")
    if not _NAME.fullmatch(name.strip()):
        raise ValueError(f'{text!r} is no metric: write `name` or `name{{label="value"}}`')
    if not brace:
        return Selector(name.strip())
    if not rest.endswith("}"):
        raise ValueError(f"{text!r}: the closing brace is missing")
    return Selector(name.strip(), parse_matchers(rest[:-1]))


@lru_cache(maxsize=1024)
def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """`label="value",other=~"a|b"`; ValueError says what is wrong with it."""
    found, at = [], 0
    while text[at:].strip():
        match = _MATCHER.match(text, at)
        if match is None:
            raise ValueError(f'{text[at:]!r} is no condition on a label: write `label="value"`, with =, !=, =~ or !~')
        value = re.sub(r"\\(.)", lambda it: _ESCAPES.get(it[1], it[0]), match[3])
        if match[2] in ("=~", "!~"):
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"{value!r} is no regular expression: {error}") from error
        found.append(Matcher(match[1], match[2], value))
        at = match.end()
    return tuple(found)


@lru_cache(maxsize=1024)
def _expression(text: str) -> re.Pattern[str]:
    return re.compile(text)
