#!/usr/bin/env bash
# Runs tests beside busy loops: none may depend on an idle machine. `tests/repeat.sh` repeats them on a quiet one.
#   tests/busy.sh ROUNDS LOOPS [CARGO TEST ARGUMENT…]     default: the whole suite
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '2,3s/^# *//p' "$0" >&2; exit 2; }
rounds=$1 loops=$2; shift 2
[ $# -gt 0 ] || set -- --workspace
cargo test --locked --no-run "$@"
log=$(mktemp) busy=()
trap 'kill "${busy[@]}" 2>/dev/null || true; rm -f "$log"' EXIT
trap 'exit 130' INT TERM HUP
for _ in $(seq "$loops"); do
    # Each ends by itself should this script be killed.
    while kill -0 $$ 2>/dev/null; do for _ in {1..10000}; do :; done; done &
    busy+=($!)
done
failed=0
for round in $(seq "$rounds"); do
    started=$SECONDS
    if cargo test --locked --quiet --no-fail-fast "$@" >"$log" 2>&1; then
        echo "round $round of $rounds passed in $((SECONDS - started)) s"
    else
        cat "$log"; failed=$((failed + 1)); echo "round $round of $rounds failed"
    fi
done
echo "$rounds rounds beside $loops busy loops, $failed failed"
[ "$failed" = 0 ]
