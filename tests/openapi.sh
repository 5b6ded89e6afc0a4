#!/usr/bin/env bash
# A running tracker and a running peer against their own descriptions (/openapi.json): schemathesis makes requests from
# them, right ones and wrong ones, and compares the answers. Installs schemathesis in a directory of its own below target/.
#   tests/openapi.sh [SECONDS]     default: 45 for each of both
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-45}
bin=${PARCELRY_BIN:-${CARGO_TARGET_DIR:-$PWD/target}/release/parcelry}
[ -x "$bin" ] || cargo build --release --locked
tools=${CARGO_TARGET_DIR:-$PWD/target}/openapi-tests
python3 -c 'import ensurepip, venv' 2>/dev/null ||
    { apt-get update; apt-get install --yes --no-install-recommends python3 python3-venv; } >/dev/null
[ -x "$tools/bin/schemathesis" ] || { python3 -m venv "$tools"; "$tools/bin/pip" install --quiet schemathesis==4.32.5; }

work=$(mktemp -d)
trap 'code=$?; [ $code = 0 ] || tail -n 20 "$work"/*.err; kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
export HOME="$work/home" XDG_CONFIG_HOME="$work/config" XDG_STATE_HOME="$work/state" XDG_DATA_HOME="$work/share"
mkdir -p "$HOME"
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2" | tail -n 1; }
start() { # NAME ARGS…: starts a server and waits for its first line
    local name=$1; shift
    "$bin" "$@" --json --listen 127.0.0.1:0 --data "$work/$name" >"$work/$name.out" 2>"$work/$name.err" &
    for _ in $(seq 200); do [ -s "$work/$name.out" ] && return; sleep 0.1; done
    echo "$name did not start"; exit 1
}
check() { # NAME ARGS…: holds a server against its description
    local name=$1 url; shift
    url="http://$(field address "$work/$name.out")"
    echo "$name at $url"
    # One worker: Python 3.11 parses its own sources wrongly from two threads, which fails the run.
    (cd "$work" && "$tools/bin/schemathesis" run "$url/openapi.json" --max-time "$seconds" --workers 1 \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method \
        --continue-on-failure --warnings off "$@" >"$work/$name.schemathesis") ||
        { tail -n 200 "$work/$name.schemathesis"; exit 1; }
    tail -n 12 "$work/$name.schemathesis"
}
start tracker tracker
start peer peer --invite "$(field peer_invite "$work/tracker.out")" --keep-free 0B
# The stream of events has no end. The admin's routes are tried with his token; it opens nothing at peers.
check tracker --exclude-path /v1/events --header "Authorization: Bearer $(cat "$work/tracker/admin.token")"
check peer
