"""The Debian package, the systemd unit and the example settings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import debian
from agent.rig import AGENT, missing, needs_agent

pytestmark = pytest.mark.slow
DEPLOY = Path(__file__).parents[2] / "deploy" / "agent"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package."""
    needs_agent()
    if not shutil.which("dpkg-deb"):
        missing("dpkg-deb is needed: a Debian or Ubuntu machine")
    return build(tmp_path_factory.mktemp("deb"))


def build(out: Path) -> Path:
    """Run the script."""
    subprocess.run([str(DEPLOY / "build-deb.sh"), str(AGENT), str(out)], check=True, capture_output=True)
    return next(out.glob("*.deb"))


def test_the_package_holds_a_working_agent(package: Path, tmp_path: Path) -> None:
    """What is unpacked runs with the settings beside it, and says what the node offers."""
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path)], check=True)
    settings = tmp_path / "etc" / "eo-agent" / "agent.toml"
    command = [str(tmp_path / "usr" / "bin" / "eo-agent"), "check", "--config", str(settings), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"meters"' in done.stdout
    fields = subprocess.run(["dpkg-deb", "-f", str(package)], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^Depends: libc6 \(>= 2\.\d+\)", fields, re.MULTILINE), fields
    assert settings.stat().st_mode & 0o077 == 0o040


def test_the_same_inputs_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    """A package can be made again and compared."""
    assert build(tmp_path).read_bytes() == package.read_bytes()


def test_every_key_of_the_example_is_a_key(tmp_path: Path) -> None:
    """With the comment signs removed, nothing is unknown to the agent."""
    text = re.sub(r"^#(?=[a-z_]+ =)", "", (DEPLOY / "agent.toml").read_text(), flags=re.MULTILINE)
    assert text.count("\n") > 10
    settings = tmp_path / "agent.toml"
    settings.write_text(text)
    done = subprocess.run([str(AGENT), "check", "--config", str(settings)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    settings.write_text("tenannt = 'x'\n" + text)
    done = subprocess.run([str(AGENT), "check", "--config", str(settings)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "tenannt" in done.stderr


UNITS = ("eo-agent.service", "eo-agent-meters.service")


def test_every_key_of_the_gateways_example_is_a_key(tmp_path: Path) -> None:
    """Its tables are read up to the first secret, which is not there."""
    text = re.sub(r"^#(?=[a-z_]+ =)", "", (DEPLOY / "gateway.toml").read_text(), flags=re.MULTILINE)
    settings = tmp_path / "gateway.toml"
    settings.write_text(re.sub(r"^nats_.*\n", "", text, flags=re.MULTILINE))
    command = [str(AGENT), "check", "--config", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'snmp "pdu-a": priv_password_file: /etc/eo-agent/pdu-a.priv: No such file' in done.stderr


def verified(analyze: str, *units: str) -> list[str]:
    """What systemd has to say about our units."""
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if "eo-agent" in line]


@pytest.fixture(scope="module")
def analyze() -> str:
    """systemd-analyze; installed where this is root."""
    if not shutil.which("systemd-analyze") and os.geteuid() == 0 and shutil.which("apt-get"):
        debian.install(["systemd"])
    return shutil.which("systemd-analyze") or missing("systemd-analyze is not here (Debian package systemd)")


def test_systemd_accepts_the_units(tmp_path: Path, analyze: str) -> None:
    """systemd-analyze knows every line; the path of the program is that of this machine. A wrong line is found."""
    for name in UNITS:
        unit = tmp_path / name
        unit.write_text((DEPLOY / name).read_text().replace("/usr/bin/eo-agent", str(AGENT)))
        assert verified(analyze, str(unit)) == []
        unit.write_text(unit.read_text().replace("ProtectClock=yes", "ProtectClock=yes\nProtectClocks=yes"))
        assert any("ProtectClocks" in line for line in verified(analyze, str(unit)))


# In a copy of this machine's files that is thrown away: an overlay in a mount namespace of its own.
IN_A_COPY = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
mount -t proc none "$1/root/proc"
cp "$2" "$1/root/package.deb"
chroot "$1/root" sh -e -c "$3"
rm "$1/root/package.deb"
umount "$1/root/proc"
cd "$1/upper"
find . -mindepth 1 -printf '%y %p\\n' >"$4"
"""
# As an administrator would: install, look, leave settings and secrets behind, remove, purge.
LIFE = """
dpkg --install package.deb
dpkg --verify eo-agent
dpkg --listfiles eo-agent
echo ---
/usr/bin/eo-agent check --config /etc/eo-agent/agent.toml --profile-hz 0
systemd-analyze verify --man=no /lib/systemd/system/eo-agent.service /lib/systemd/system/eo-agent-meters.service
echo 'tenant = "mine"' >>/etc/eo-agent/agent.toml
echo s3cret >/etc/eo-agent/agent.creds
mkdir -p /var/lib/eo-agent/spool && echo rows >/var/lib/eo-agent/spool/1
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -s /lib/systemd/system/eo-agent.service /etc/systemd/system/multi-user.target.wants/eo-agent.service
dpkg --install package.deb
grep -q mine /etc/eo-agent/agent.toml
dpkg --remove eo-agent
test ! -e /usr/bin/eo-agent
grep -q mine /etc/eo-agent/agent.toml
dpkg --purge eo-agent
"""
# What dpkg and ldconfig keep of themselves, whatever is installed.
OF_DPKG = re.compile(
    r"\./(var/lib/dpkg|var/log|var/cache/(ldconfig|debconf|man)|etc/ld\.so\.cache"
    r"|usr/share/(doc|man)|tmp|root|run|dev)(/|$)"
)


def test_it_is_installed_upgraded_removed_and_purged_without_a_trace(
    package: Path, tmp_path: Path, analyze: str
) -> None:
    """By the real dpkg with its dependencies, as root; settings stay at a removal, and nothing at all after a purge."""
    if os.geteuid() != 0 or Path("/usr/bin/eo-agent").exists():
        missing("root, and a machine without the package, are needed")
    place, left = tmp_path / "copy", tmp_path / "left"
    place.mkdir()
    shell = ["unshare", "--mount", "sh", "-c", IN_A_COPY, "sh", str(place), str(package), LIFE, str(left)]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = set(done.stdout.split("---")[0].splitlines())
    files = {
        "/usr/bin/eo-agent", "/etc/eo-agent/agent.toml", "/usr/share/doc/eo-agent/gateway.toml",
        *(f"/lib/systemd/system/{name}" for name in UNITS),
    }  # fmt: skip
    assert files <= listed, done.stdout
    assert "meters" in done.stdout
    assert "capabilities" in done.stdout
    # A file that was there and is gone is a whiteout (c), one that is new a file: nothing of either but dpkg's own.
    traces = [line for line in left.read_text().splitlines() if line[0] != "d" and not OF_DPKG.match(line[2:])]
    assert traces == []
    ours = [line for line in left.read_text().splitlines() if "eo-agent" in line and line[0] not in "dc"]
    assert ours == [], "not even in dpkg's own list"
