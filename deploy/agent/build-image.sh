#!/usr/bin/env bash
# Makes dist/eo-agent_VERSION_ARCH.oci.tar of a built agent and prints the image's digest: the same for the same inputs.
# usage: deploy/agent/build-image.sh [BINARY] [OUTPUT DIRECTORY]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-$here/../../agent/target/release/eo-agent}
out=${2:-$here/../../dist}
authorities=/etc/ssl/certs/ca-certificates.crt
fail() { echo "build-image: $1. Next: $2" >&2; exit 2; }
[ -x "$binary" ] || fail "$binary is not there" "make up, or cargo build --release in agent/"
command -v buildah >/dev/null || fail "no buildah" "install your distribution's buildah"
[ -r "$authorities" ] || fail "no $authorities" "install your distribution's ca-certificates"

version=$("$binary" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture 2>/dev/null || uname -m)
epoch=${SOURCE_DATE_EPOCH:-0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
root=$work/context/root
install -D -m 755 "$binary" "$root/usr/bin/eo-agent"
# The loader and what it loads, where the program looks for them.
ldd "$binary" | grep -oE '/[^ ]+' | while read -r library; do
  install -D -m 755 "$(readlink -f "$library")" "$root$library"
done
install -D -m 644 "$authorities" "$root$authorities"
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
# Mount points: the root is read-only.
mkdir -p "$root/etc/eo-agent" "$root/host/sys" "$root/var/lib/eo-agent" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
cp "$here/Containerfile" "$work/context/"
find "$work/context" -exec touch --no-dereference --date="@$epoch" {} +

storage=(buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run")
name=localhost/eo-agent:$version
"${storage[@]}" bud --quiet --isolation chroot --format oci --timestamp "$epoch" --omit-history --identity-label=false \
  --label "org.opencontainers.image.version=$version" --label org.opencontainers.image.licenses=Apache-2.0 \
  --tag "$name" "$work/context" >/dev/null
mkdir -p "$out"
archive=$out/eo-agent_${version}_$architecture.oci.tar
rm -f "$archive"
"${storage[@]}" push --quiet --digestfile "$work/digest" "$name" "oci-archive:$archive:$version" >/dev/null
echo "$(cat "$work/digest") $archive"
