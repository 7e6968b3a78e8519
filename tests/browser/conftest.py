from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from api.serving import serving
from api.simulator import Simulator
from energy_orchestrator.api.app import create_app
from energy_orchestrator.config import Settings

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        missing = "no chromium on PATH: install Chromium to test the page"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def plane() -> Simulator:
    return Simulator()


@pytest.fixture
def url(plane: Simulator) -> Iterator[str]:
    settings = Settings(electricity_price_per_kwh=0.31, grid_gco2e_per_kwh=380)
    with serving(create_app(plane, settings)) as address:
        yield address


class Watched:
    """A page with everything it complained about and every host it asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: set[str] = set()
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.add("/".join(request.url.split("/")[:3])))


@pytest.fixture
def watched(browser: Browser, url: str) -> Iterator[Watched]:
    """The page at its first view. At the end it must have been silent and have asked nobody else."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(15_000)
    seen = Watched(page)
    page.goto(url)
    yield seen
    page.close()
    assert seen.complaints == []
    assert seen.asked == {url}
