"""Fingerprints: what a workload does, as a vector, from its profile and its use of resources.

`normalise` makes frames comparable between builds, `features` turns stacks and resources into weighted tokens and
histograms, `vector` projects them to 256 numbers, `clusters` groups vectors and keeps a group's id from run to run,
`neighbours` finds like ones and says why, `fleet` does both for more vectors than HDBSCAN takes at once.
"""

from energy_orchestrator.analyze.fingerprint.features import Profile
from energy_orchestrator.analyze.fingerprint.vector import DIMENSIONS, FingerprintModel

__all__ = ["DIMENSIONS", "FingerprintModel", "Profile"]
