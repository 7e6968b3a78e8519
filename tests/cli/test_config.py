"""Settings: which source wins, and what a misspelt key gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from energy_orchestrator.config import Settings, default_data_dir, load_settings, unknown_environment
from energy_orchestrator.errors import InvalidInputError


def test_flags_beat_the_environment_and_the_environment_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "eo.toml").write_text('port = 1111\ntenant = "acme"\nwindow_seconds = 2\n')
    assert load_settings().port == 1111
    monkeypatch.setenv("EO_PORT", "2222")
    assert load_settings().port == 2222
    chosen = load_settings(port=3333, mode=None)
    assert (chosen.port, chosen.tenant, chosen.window_seconds, chosen.mode) == (3333, "acme", 2.0, "approve")
    assert chosen.base_url == "http://127.0.0.1:3333"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("watch_window_second = 9\n", ["watch_window_second", "did you mean `watch_window_seconds`?"]),
        ("zzz = 1\n", ["`zzz`", "take one of:"]),
        ("port = 99999\n", ["`port`"]),
        ('mode = "yolo"\n', ["`mode`", "advisory"]),
        ("port = \n", ["not valid TOML"]),
        ('bind = "0.0.0.0"\n', ["allowed_hosts"]),
        ('currency = "euros"\n', ["`currency`"]),
        ("window_seconds = 0\n", ["`window_seconds`"]),
        ('kafka_brokers = ["a:9092"]\nnats_url = "nats://a"\n', ["kafka_brokers", "nats_url", "one bus"]),
        ('kafka_user = "eo"\n', ["kafka_password_file", "belong together"]),
    ],
)
def test_a_fault_in_the_file_names_the_key_the_file_and_what_to_do(tmp_path: Path, text: str, parts: list[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        load_settings(file)
    assert str(file) in caught.value.describe()
    assert caught.value.next_step
    for part in parts:
        assert part in caught.value.describe()


def test_a_fault_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EO_PORT", "many")
    with pytest.raises(InvalidInputError) as caught:
        load_settings()
    assert caught.value.where == "EO_PORT"


def test_a_fault_in_a_flag_names_the_flag() -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_settings(window_seconds=-1)
    assert caught.value.where == "--window-seconds"


def test_secrets_are_files_only() -> None:
    for name in Settings.model_fields:
        assert not name.endswith(("password", "secret", "token", "key"))


def test_data_lives_in_the_checkout_or_with_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert default_data_dir(tmp_path) == tmp_path / "share" / "energy-orchestrator"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "energy-orchestrator"\n')
    assert default_data_dir(tmp_path) == tmp_path / ".eo"


def test_unknown_variables_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unknown_environment({"EO_PROT": "1", "EO_PORT": "1", "HOME": "x", "EO_CONFIG": "y"}) == ["EO_PROT"]
