"""The page in a real browser: it draws, it decides, it stays still while it lives, and it asks no other host."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from api.simulator import ADVICE, BATCH, POLL, Simulator
from browser.conftest import Watched

pytestmark = pytest.mark.browser


def test_power_workloads_and_recommendations_are_shown(watched: Watched) -> None:
    page = watched.page
    expect(page.locator("#plot canvas")).to_be_visible()
    drawn = page.evaluate(
        "() => { const c = document.querySelector('#plot canvas');"
        " return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size; }"
    )
    assert drawn > 20
    expect(page.locator("#nodes")).to_contain_text("estimated by a model (CPU utilisation model), ±15.1 W")
    expect(page.locator("#workloads")).to_contain_text("34.5 mJ/request")
    expect(page.locator(f"#rec-{BATCH}")).to_contain_text("0.0355 EUR/day")
    expect(page.locator(f"#rec-{ADVICE}")).to_contain_text("Advice only")
    expect(page.locator(f"#approve-{ADVICE}")).to_have_count(0)


def test_approving_shows_the_difference_and_then_the_rollout_live(watched: Watched, plane: Simulator) -> None:
    page = watched.page
    page.click(f"#approve-{BATCH}")
    expect(page.locator("#dialog")).to_contain_text("BATCH_MAX")
    expect(page.locator("#confirm")).to_be_focused()
    page.click("#confirm")
    expect(page.locator("#dialog")).to_be_hidden()
    expect(page.locator("#notice")).to_contain_text("Approved: declared/inference: BATCH_MAX 1 → 8")
    expect(page.locator(f"#rec-{BATCH} .badge")).to_have_text("executing")
    rollout = page.locator(f"#rollout-ro-{BATCH}")
    expect(rollout).to_contain_text("setScope 50 %")
    plane.advance(f"ro-{BATCH}")
    plane.advance(f"ro-{BATCH}")
    expect(rollout.locator("svg.interval.good")).to_have_count(2)
    while plane.advance(f"ro-{BATCH}").phase == "Running":
        pass
    expect(rollout).to_contain_text("Verified saving: 12.1 mJ per operation")
    expect(page.locator("#past")).to_contain_text("successful")


def test_cancelling_changes_nothing_and_gives_the_focus_back(watched: Watched, plane: Simulator) -> None:
    page = watched.page
    page.click(f"#approve-{BATCH}")
    expect(page.locator("#dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    expect(page.locator(f"#approve-{BATCH}")).to_be_focused()
    assert plane.log == []


def test_refusing_takes_a_reason(watched: Watched, plane: Simulator) -> None:
    page = watched.page
    page.click(f"#refuse-{POLL}")
    page.fill("#reason", "release week")
    page.click("#confirm")
    expect(page.locator("#notice")).to_contain_text("Refused")
    expect(page.locator(f"table #rec-{POLL}")).to_have_count(0)
    assert plane.log[0].body == {"reason": "release week"}


def test_the_pause_switch_stops_approvals_and_resumes(watched: Watched, plane: Simulator) -> None:
    page = watched.page
    page.click("#pause")
    page.fill("#reason", "incident 7")
    page.click("#confirm")
    expect(page.locator(".paused")).to_contain_text("incident 7")
    expect(page.locator(f"#rec-{BATCH}")).to_contain_text("Everything is paused")
    expect(page.locator(f"#approve-{BATCH}")).to_have_count(0)
    page.click("#resume")
    expect(page.locator(f"#approve-{BATCH}")).to_be_visible()
    assert [stop.lifted_by for stop in plane.stops] == ["local user"]


def test_the_flame_graph_speaks_in_joules(watched: Watched) -> None:
    page = watched.page
    page.click('[data-workload="declared/inference"]')
    expect(page.locator("#flame-title")).to_have_text("Energy by function of declared/inference, last 5 min: 3.80 kJ")
    frame = page.locator("#flame g", has=page.locator("title", has_text="matmul"))
    expect(frame.locator("title")).to_have_text("matmul: 1.72 kJ, 45.3 %")
    frame.locator("rect").click()
    expect(page.locator("#flame-detail")).to_contain_text("matmul: 1.72 kJ")
    page.click("#flame-reset")
    expect(page.locator("#flame-reset")).to_be_hidden()


def test_what_is_open_stays_open_while_the_page_lives(watched: Watched, plane: Simulator) -> None:
    page = watched.page
    details = page.locator(f"#why-{BATCH}")
    details.locator("summary").click()
    plane.saved[BATCH] = plane.saved[BATCH].model_copy(update={"confidence": 0.91})
    expect(page.locator(f"#rec-{BATCH}")).to_contain_text("91 %")
    expect(details).to_have_attribute("open", "")
    expect(details).to_contain_text("operations per batch")


def test_the_filter_survives_the_next_refresh(watched: Watched) -> None:
    page = watched.page
    page.fill("#workload-search", "team=search")
    expect(page.locator("#workloads tbody tr")).to_have_count(1)
    with page.expect_response(lambda answer: "/ui/workloads?q=team" in answer.url):
        pass
    expect(page.locator("#workloads tbody tr")).to_have_count(1)


@pytest.mark.parametrize("width", [400, 820, 1280])
def test_nothing_runs_off_the_side(watched: Watched, width: int) -> None:
    page = watched.page
    page.set_viewport_size({"width": width, "height": 900})
    page.click('[data-workload="declared/inference"]')
    expect(page.locator("#flame rect").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(watched: Watched) -> None:
    nameless = watched.page.evaluate(
        "() => [...document.querySelectorAll('button, input, select, a[href], summary')]"
        ".filter(e => !(e.textContent.trim() || e.ariaLabel || (e.labels && e.labels.length))).map(e => e.outerHTML)"
    )
    assert nameless == []
