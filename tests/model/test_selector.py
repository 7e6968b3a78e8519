"""Selectors: what PromQL means by `name{label="value"}`."""

from __future__ import annotations

import pytest

from energy_orchestrator.model.selector import Selector, parse_selector


@pytest.mark.parametrize(
    ("text", "labels", "accepted"),
    [
        ("up", {"any": "thing"}, True),
        ('up{code="200"}', {"code": "200"}, True),
        ('up{code="200"}', {}, False),
        ('up{code!="200"}', {}, True),
        ('up{code=~"5.."}', {"code": "503"}, True),
        ('up{code=~"5"}', {"code": "503"}, False),
        ('up{code!~"5.."}', {"code": "503"}, False),
        ('up{ code = "a,b" , path="x}y",}', {"code": "a,b", "path": "x}y"}, True),
        (r'up{path="a\"b\\c"}', {"path": 'a"b\\c'}, True),
        ('up{code=""}', {"other": "1"}, True),
        ('up{code!=""}', {"other": "1"}, False),
    ],
)
def test_a_selector_accepts_as_in_promql(text: str, labels: dict[str, str], accepted: bool) -> None:
    assert parse_selector(text).accepts(labels) is accepted


def test_a_name_alone_has_no_conditions() -> None:
    assert parse_selector(" vllm:request_success_total ") == Selector("vllm:request_success_total")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no metric"),
        ("9a", "no metric"),
        ("sum(x)", "no metric"),
        ('up{code="1"', "closing brace"),
        ("up{code=1}", "no condition"),
        ('up{code=="1"}', "no condition"),
        ('up{code=~"("}', "no regular expression"),
    ],
)
def test_what_is_no_selector_says_why(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_selector(text)


@pytest.mark.parametrize(
    ("text", "needs"),
    [('up{a="1"}', True), ('up{a=~"5.."}', True), ('up{a!="1"}', False), ('up{a!=""}', False), ('up{a=~".*"}', False)],
)
def test_which_conditions_say_nothing_without_the_label(text: str, needs: bool) -> None:
    assert parse_selector(text).matchers[0].needs_label is needs
