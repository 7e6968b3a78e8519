"""Where the agent's binary is: named in the settings, on PATH, or built in the checkout."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

AGENT_NAME = "eo-agent"
CHECKOUT = Path(__file__).parents[3]


def find_agent(configured: Path | None) -> Path | None:
    """The first that can be executed; None without one. A configured path is the only one looked at."""
    if configured is not None:
        return configured if os.access(configured, os.X_OK) else None
    for built in (CHECKOUT / "agent" / "target" / "release" / AGENT_NAME,):
        if os.access(built, os.X_OK):
            return built
    on_path = shutil.which(AGENT_NAME)
    return Path(on_path) if on_path else None
