#!/usr/bin/env bash
# Makes dist/eo-agent_VERSION_ARCH.deb of a built agent. The same inputs give the same bytes.
# usage: deploy/agent/build-deb.sh [BINARY] [OUTPUT DIRECTORY]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-$here/../../agent/target/release/eo-agent}
out=${2:-$here/../../dist}
fail() { echo "build-deb: $1. Next: $2" >&2; exit 2; }
[ -x "$binary" ] || fail "$binary is not there" "make up, or cargo build --release in agent/"
command -v dpkg-deb >/dev/null || fail "no dpkg-deb" "build on Debian or Ubuntu"

version=$("$binary" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
# The newest glibc symbol that the binary asks for.
libc=$(grep -aoE 'GLIBC_2\.[0-9]+' "$binary" | sort -uV | tail -1 | cut -d_ -f2)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
umask 022
install -D -m 755 "$binary" "$root/usr/bin/eo-agent"
install -D -m 644 "$here/eo-agent.service" "$root/lib/systemd/system/eo-agent.service"
install -D -m 644 "$here/eo-agent-meters.service" "$root/lib/systemd/system/eo-agent-meters.service"
install -D -m 640 "$here/agent.toml" "$root/etc/eo-agent/agent.toml"
install -D -m 644 "$here/../../agent/README.md" "$root/usr/share/doc/eo-agent/README.md"
install -D -m 644 "$here/gateway.toml" "$root/usr/share/doc/eo-agent/gateway.toml"
install -D -m 644 "$here/../../LICENSE" "$root/usr/share/doc/eo-agent/copyright"
mkdir -p "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: eo-agent
Version: $version
Architecture: $architecture
Maintainer: Energy Orchestrator developers <developers@energy-orchestrator.invalid>
Depends: libc6 (>= ${libc:-2.31}), libgcc-s1
Recommends: ca-certificates
Suggests: ipmitool
Section: admin
Priority: optional
Description: node agent of Energy Orchestrator
 Measures what each process of a node uses, reads its power meters, samples
 stacks, and sends all of it to NATS JetStream.
CONTROL
echo /etc/eo-agent/agent.toml >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
# Enabled, not started: a tenant and a bus have to be named first.
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl enable eo-agent.service >/dev/null
  echo "eo-agent: edit /etc/eo-agent/agent.toml, then: systemctl start eo-agent"
fi
SCRIPT
cat >"$root/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl disable --now eo-agent.service eo-agent-meters.service >/dev/null || true
fi
SCRIPT
cat >"$root/DEBIAN/postrm" <<'SCRIPT'
#!/bin/sh
set -e
# Settings and the secrets beside them, what the spool still held, and links of `systemctl enable`.
if [ "$1" = purge ]; then
  rm -rf /var/lib/eo-agent /etc/eo-agent
  rm -f /etc/systemd/system/multi-user.target.wants/eo-agent.service
  rm -f /etc/systemd/system/multi-user.target.wants/eo-agent-meters.service
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi
SCRIPT
chmod 755 "$root"/DEBIAN/p*
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
dpkg-deb --root-owner-group --uniform-compression -Zxz --build "$root" "$out/eo-agent_${version}_$architecture.deb"
