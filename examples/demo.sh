#!/usr/bin/env bash
# Starts a server and runs the C++ latency test against it, from an installed prefix.
#
#   examples/demo.sh PREFIX
set -euo pipefail
prefix=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
# shellcheck disable=SC2046 # the flags are words
c++ -std=c++17 -O2 "$here/test_latency.cpp" -o "$work/test_latency" \
    $(pkg-config --cflags --libs qyun) -Wl,-rpath,"$prefix/lib"

mkfifo "$work/said"
"$prefix/bin/qyun" serve --listen 127.0.0.1:0 --log warn --json >"$work/said" &
server=$!
# The server says where it listens once it does.
read -r line <"$work/said"
address=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["address"])' "$line")

echo "qyun serve listens on $address"
echo "create:  $(curl -sS "http://$address/channel/create/demo" 2>/dev/null || echo '(no curl here)')"
"$work/test_latency" "$address"
