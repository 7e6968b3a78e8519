"""Every setting can come from the environment, and one that can't be used is named with its variable (issue 4)."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from agent.rig import AGENT, needs_agent

pytestmark = pytest.mark.slow

# Of each key that is no plain text: what it can't be.
WRONG = {
    "EO_SPOOL_MAX_BYTES": "much",
    "EO_INTERVAL_SECONDS": "0.1",
    "EO_PROFILE_HZ": "100",
    "EO_PROFILE_STACK_BYTES": "70000",
    "EO_JVM_ATTACH": "perhaps",
    "EO_COUNTERS": "many",
    "EO_KUBELET_INSECURE": "perhaps",
    "EO_CLOUD_METADATA": "perhaps",
    "EO_SINK": "rabbit",
    "EO_PARENT_PID": "me",
    "EO_LOG_LEVEL": "loud",
    "EO_KAFKA_TLS": "perhaps",
    "EO_KAFKA_SASL_MECHANISM": "gssapi",
    "EO_TENANT": " ",
    "EO_HOST": " ",
    "EO_NATS_INBOX_PREFIX": " ",
    "EO_NATS_URL": "nats://eo:s3cret@bus:4222",
    "EO_OTLP_ENDPOINT": "s3cret:4318",
    "EO_PPROF_PUSH_URL": "http://eo:s3cret@127.0.0.1:4040/ingest",
    "EO_METRICS_LISTEN": "eo:s3cret@127.0.0.1:1",
    "EO_KUBELET_URL": "https://s3cret@127.0.0.1:10250",
    "EO_KAFKA_BROKERS": "eo:s3cret@broker:9092",
    "EO_NATS_USER": "without-its-file",
    "EO_NATS_PASSWORD_FILE": "without-its-user",
    "EO_NATS_CERT_FILE": "without-its-key",
    "EO_NATS_KEY_FILE": "without-its-certificate",
    "EO_KAFKA_USER": "without-brokers",
    "EO_KAFKA_PASSWORD_FILE": "without-brokers",
    "EO_KAFKA_CA_FILE": "without-brokers",
    "EO_KAFKA_CERT_FILE": "without-brokers",
    "EO_KAFKA_KEY_FILE": "without-brokers",
}
# Any text may be a path, a pattern or a name; what comes of these is tried where they are used.
PLAIN = {
    "EO_NATS_CREDS_FILE",
    "EO_NATS_NKEY_FILE",
    "EO_NATS_CA_FILE",
    "EO_OTLP_HEADERS_FILE",
    "EO_SPOOL_DIR",
    "EO_PROFILE_ONLY",
    "EO_PROFILE_EXCEPT",
    "EO_PROCFS",
    "EO_SYSFS",
    "EO_CGROUPFS",
    "EO_CONTAINER_SOCKETS",
    "EO_KUBELET_TOKEN_FILE",
    "EO_KUBELET_CA_FILE",
    "EO_PATH",
}


def agent(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The agent with these variables and no others of ours."""
    needs_agent()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EO_")}
    command = [str(AGENT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean | environment, timeout=60)


def test_every_flag_has_a_variable_and_each_is_tried_here() -> None:
    """A new key has to be put into one of the lists above."""
    words = agent("run", "--help").stdout
    flags = {flag for flag in re.findall(r"--([a-z][a-z-]+) <", words) if flag != "config"}
    variables = set(re.findall(r"\[env: (EO_[A-Z_]+)=", words)) - {"EO_AGENT_CONFIG"}
    assert variables == {"EO_" + flag.replace("-", "_").upper() for flag in flags}
    assert variables == WRONG.keys() | PLAIN


@pytest.mark.parametrize(("variable", "value"), WRONG.items())
def test_a_value_that_can_not_be_used_is_named_by_its_key(variable: str, value: str) -> None:
    """Before anything runs; secrets are not shown."""
    done = agent("run", **{variable: value})
    assert done.returncode == 2, done.stderr
    key = variable.removeprefix("EO_").lower()
    named = {key, key.replace("kafka_", "kafka.", 1), "kafka.brokers" if key.startswith("kafka_") else key}
    # Of two keys that belong together one speaks for both.
    named |= {"nats_user"} if key == "nats_password_file" else {"nats_cert_file"} if key == "nats_key_file" else set()
    assert any(done.stderr.startswith(f"eo-agent: {name}: ") for name in named), done.stderr
    assert "s3cret" not in done.stderr


def test_a_flag_beats_a_variable_and_a_list_is_separated_by_commas() -> None:
    """And a variable that is set to nothing is an empty list."""
    listed = agent("check", "--output", "json", EO_CONTAINER_SOCKETS="cri:/nowhere/a,docker:/nowhere/b", EO_TENANT="x")
    assert '"cri:/nowhere/a"' in listed.stdout
    assert '"docker:/nowhere/b"' in listed.stdout
    assert '"tenant": "x"' in listed.stdout
    flag = agent("check", "--tenant", "y", "--output", "json", EO_CONTAINER_SOCKETS="", EO_TENANT="x")
    assert '"tenant": "y"' in flag.stdout
    assert '"container_names": []' in flag.stdout
