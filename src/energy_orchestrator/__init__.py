"""Energy Orchestrator: joules per operation, and changes that save them, safely."""

__version__ = "0.1.0"
