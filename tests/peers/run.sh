#!/bin/sh
# Runs other people's clients against a real `qyun serve`. Further arguments go to pytest.
#
#   tests/peers/run.sh              everything
#   tests/peers/run.sh -k browser   some
#
# QYUN_BIN     the qyun binary, target/release/qyun by default
# QYUN_LIBRARY  libqyun.so for the programs of the tests that are servers; the one built or installed with QYUN_BIN
#              by default
# CHROMIUM     the browser, /usr/bin/chromium by default
# QYUN_PEERS_PYTHON2    the Python 2.7 that Autobahn|Testsuite needs; python2.7, or pyenv's, by default. Without one
#                       that suite is left out, and says so
# QYUN_PEERS_AUTOBAHN   off leaves Autobahn|Testsuite out
#
# What must be installed: apt-packages.txt. What comes from the registries is pinned in
# requirements.txt, autobahn.txt and package.json and goes below target/.
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

for library in "$(dirname "$QYUN_BIN")/libqyun.so" "$(dirname "$QYUN_BIN")/../lib/libqyun.so"; do
    [ -n "${QYUN_LIBRARY:-}" ] || ! [ -e "$library" ] || export QYUN_LIBRARY="$library"
done

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

# A user base, as Python 2 has no venv.
if [ "${QYUN_PEERS_AUTOBAHN:-on}" != off ]; then
    for python2 in "${QYUN_PEERS_PYTHON2:-python2.7}" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7 ''; do
        [ -z "$python2" ] || ! "$python2" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null || break
    done
    if [ -z "$python2" ]; then
        echo "Autobahn|Testsuite is left out: it needs Python 2.7 with pip (QYUN_PEERS_PYTHON2)" >&2
        export QYUN_PEERS_AUTOBAHN=off
    fi
fi
if [ "${QYUN_PEERS_AUTOBAHN:-on}" != off ]; then
    export QYUN_PEERS_PYTHON2="$python2" QYUN_PEERS_AUTOBAHN_BASE="$target/peers-autobahn"
    if ! cmp -s "$here/autobahn.txt" "$QYUN_PEERS_AUTOBAHN_BASE/requirements.txt"; then
        rm -rf "$QYUN_PEERS_AUTOBAHN_BASE"
        mkdir -p "$QYUN_PEERS_AUTOBAHN_BASE"
        PYTHONUSERBASE=$QYUN_PEERS_AUTOBAHN_BASE "$python2" -m pip install --quiet --disable-pip-version-check \
            --user --ignore-installed --no-deps --no-warn-script-location -r "$here/autobahn.txt"
        cp "$here/autobahn.txt" "$QYUN_PEERS_AUTOBAHN_BASE/requirements.txt"
    fi
fi

mkdir -p "$QYUN_PEERS_BIN"
for program in lws_client:libwebsockets curl_client:libcurl; do
    name=${program%:*} library=${program#*:}
    # shellcheck disable=SC2046
    ${CC:-cc} -std=c99 -D_POSIX_C_SOURCE=200809L -O1 -Wall -Wextra -Werror \
        -o "$QYUN_PEERS_BIN/$name" "$here/$name.c" $(pkg-config --cflags --libs "$library")
done

exec "$venv/bin/python" -m pytest -p no:cacheprovider "$here" "$@"
