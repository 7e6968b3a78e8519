#!/usr/bin/env python3
"""Take a picture of the live page, as in the README.

    tools/screenshot_page.py [--url http://127.0.0.1:8321] [--out docs/images/page.png] [--width 1280]

Needs a running `eo up` and Chromium on PATH. What it shows is what the server shows; nothing is filled in.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

QUIET = [
    f"--{name}"
    for name in (
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
    )
]


def main() -> int:
    """Open the page, let it refresh, take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="http://127.0.0.1:8321")
    parser.add_argument("--out", type=Path, default=Path("docs/images/page.png"))
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=None, help="default: the whole page")
    parser.add_argument("--click", help="CSS selector to click first, e.g. a workload for its flame graph")
    given = parser.parse_args()
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        print("chromium: not found. Next: install it", file=sys.stderr)
        return 2
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=QUIET)
        page = browser.new_page(viewport={"width": given.width, "height": given.height or 900})
        page.goto(given.url)
        page.wait_for_timeout(2500)
        if given.click:
            page.click(given.click)
            page.wait_for_timeout(2500)
        page.screenshot(path=given.out, full_page=given.height is None)
        browser.close()
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
