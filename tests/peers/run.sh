#!/bin/sh
# Runs other people's clients against a real `qyun serve`. Further arguments go to pytest.
#
#   tests/peers/run.sh              everything
#   tests/peers/run.sh -k browser   some
#
# QYUN_BIN     the qyun binary, target/release/qyun by default
# CHROMIUM     the browser, /usr/bin/chromium by default
#
# What must be installed: apt-packages.txt. What comes from the registries is pinned in
# requirements.txt and package.json and goes below target/.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/peers-venv
node=$target/peers-node
export QYUN_BIN="${QYUN_BIN:-$target/release/qyun}"
export QYUN_PEERS_NODE="$node" QYUN_PEERS_BIN="$target/peers-bin"

if ! [ -x "$QYUN_BIN" ]; then
    echo "$QYUN_BIN is no program: run 'cargo build --release', or set QYUN_BIN" >&2
    exit 2
fi

if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/"
fi

if ! cmp -s "$here/package.json" "$node/installed.json"; then
    rm -rf "$node"
    mkdir -p "$node"
    cp "$here/package.json" "$node/"
    (cd "$node" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts --silent)
    cp "$here/package.json" "$node/installed.json"
fi

mkdir -p "$QYUN_PEERS_BIN"
for program in lws_client:libwebsockets curl_client:libcurl; do
    name=${program%:*} library=${program#*:}
    # shellcheck disable=SC2046
    ${CC:-cc} -std=c99 -D_POSIX_C_SOURCE=200809L -O1 -Wall -Wextra -Werror \
        -o "$QYUN_PEERS_BIN/$name" "$here/$name.c" $(pkg-config --cflags --libs "$library")
done

exec "$venv/bin/python" -m pytest -p no:cacheprovider "$here" "$@"
