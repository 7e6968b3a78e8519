"""Tokens and histograms -> a vector of 256 float32 of length one.

Each token has a direction of its own: signs in a few of 224 dimensions, drawn from a hash of its name (sparse random
projection: Achlioptas, Journal of Computer and System Sciences 66, 2003; Weinberger et al., Feature Hashing, ICML
2009). Nothing is trained there, so vectors of different years can be compared. What is learned is how common a token
is (the IDF of TF-IDF, Sparck Jones 1972): a table of document frequencies, named by its version. The last 32
dimensions are the histograms.

A stripped build shows no names of its own, and its vector is unlike that of its like with symbols. So there are two of
each: `vector` with all names, and `bare` without the program's own. Who asks with a profile that shows no names
(`features.shows_no_names`) compares its vector with the bare ones, everyone else the vectors with all names.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.fingerprint.features import (
    BINS,
    FAMILIES,
    MEASURES,
    Profile,
    histograms,
    tokens,
    without_own_names,
)
from energy_orchestrator.errors import InvalidInputError

Vector = NDArray[np.float32]
DIMENSIONS = 256
STACK_DIMENSIONS = DIMENSIONS - len(MEASURES) * BINS
NONZERO = 12
"""Of the dimensions a token has a part in."""
LEAST_SAMPLES = 20
"""Fewer do not tell one program from another (see docs/accuracy.md)."""
SHIPPED = Path(__file__).with_name("token_frequencies.json")
FORMAT = 1


@dataclass(frozen=True)
class FingerprintModel:
    """Makes vectors. `frequencies` says in how many of `documents` profiles a token was seen."""

    documents: int = 0
    frequencies: dict[str, int] = field(default_factory=dict)
    resource_weight: float = 0.5
    families: dict[str, float] = field(default_factory=lambda: dict(FAMILIES))

    @property
    def version(self) -> str:
        """Vectors of two versions must not be compared."""
        text = json.dumps(
            [FORMAT, self.documents, sorted(self.frequencies.items()), self.resource_weight, self.families]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @classmethod
    def fitted(cls, profiles: Iterable[Profile], **settings: float) -> FingerprintModel:
        """Learn how common each token is. A document is a program: give one profile of each."""
        seen: Counter[str] = Counter()
        documents = 0
        for profile in profiles:
            documents += 1
            seen.update(f"{family}:{name}" for family, shares in tokens(profile.stacks).items() for name in shares)
        # Seen once says no more than unseen: both have the greatest weight.
        return cls(documents, {name: n for name, n in sorted(seen.items()) if n > 1}, **settings)  # type: ignore[arg-type]

    @classmethod
    def shipped(cls) -> FingerprintModel:
        """The table in the package."""
        return cls.from_json(SHIPPED.read_text(encoding="utf-8"))

    @classmethod
    def from_json(cls, text: str) -> FingerprintModel:
        """Read a table; InvalidInputError for one of another format."""
        read = json.loads(text)
        if read.get("format") != FORMAT:
            raise InvalidInputError(
                f"format {read.get('format')} of the fingerprint model is not {FORMAT}",
                where="token_frequencies.json",
                next_step="make it again: python -m benchmarks.fingerprints --fit",
            )
        return cls(read["documents"], read["frequencies"])

    def to_json(self) -> str:
        """The table, for a file."""
        table = {"format": FORMAT, "documents": self.documents, "frequencies": self.frequencies}
        return json.dumps(table, indent=0, sort_keys=True) + "\n"

    def rarity(self, token: str) -> float:
        """The smoothed IDF, 1 for a token of no document."""
        most = math.log(1 + self.documents) if self.documents else 1.0
        seen = self.frequencies.get(token, 0)
        return math.log((1 + self.documents) / (1 + seen)) / most if self.documents else 1.0

    def vector(self, profile: Profile) -> Vector | None:
        """The fingerprint, or None below `LEAST_SAMPLES`."""
        if profile.samples < LEAST_SAMPLES:
            return None
        stack = np.zeros(STACK_DIMENSIONS)
        for family, shares in tokens(profile.stacks).items():
            part = np.zeros(STACK_DIMENSIONS)
            length = 0.0
            for name, share in shares.items():
                weight = math.sqrt(share) * self.rarity(f"{family}:{name}")
                places, signs = _direction(f"{family}:{name}")
                part[places] += weight * signs
                length += weight * weight
            if length > 0:
                stack += self.families[family] * part / math.sqrt(length)
        uses = np.sqrt(histograms(profile.resources)).ravel()
        whole = np.concatenate([_unit(stack), self.resource_weight * _unit(uses)])
        return _unit(whole).astype(np.float32)

    def bare(self, profile: Profile) -> Vector | None:
        """The fingerprint of what a stripped build would show: what a stripped one is to be compared with."""
        return self.vector(without_own_names(profile))

    def vectors(self, profiles: Sequence[Profile]) -> list[Vector | None]:
        """One each, in order."""
        return [self.vector(profile) for profile in profiles]


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(values))
    return values / length if length > 0 else values


@lru_cache(maxsize=500_000)
def _direction(token: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Places and signs of a token; the same on every machine and in every version."""
    bits = hashlib.blake2b(token.encode(), digest_size=NONZERO * 4).digest()
    words = np.frombuffer(bits, dtype="<u4")
    places, first = np.unique((words >> 1) % STACK_DIMENSIONS, return_index=True)
    signs = np.where(words[first] & 1, 1.0, -1.0) / math.sqrt(len(places))
    return places.astype(np.intp), signs
