from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from api.serving import serving
from api.simulator import Simulator
from energy_orchestrator.api.app import create_app
from energy_orchestrator.config import Settings


@pytest.fixture
def plane() -> Simulator:
    return Simulator()


@pytest.fixture
def http(plane: Simulator) -> Iterator[httpx.Client]:
    app = create_app(plane, Settings(tenants=("acme",), electricity_price_per_kwh=0.31))
    with serving(app) as url, httpx.Client(base_url=url, headers={"Eo-Request": "1"}, trust_env=False) as client:
        yield client
