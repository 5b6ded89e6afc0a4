#!/usr/bin/env bash
# Runs end-to-end tests many times: flaky is broken.
#   tests/repeat.sh [TIMES] [TEST_FILE…]     default: 20 times, all of them
set -euo pipefail
cd "$(dirname "$0")/.."
times=${1:-20}; shift || true
files=("$@")
[ ${#files[@]} -gt 0 ] || files=(share_get faults resume cli protocol hostile_share hostile_peer hostile_tracker durability crashes surroundings security transport exhaustion local_user gateway dashboard pushing distance)
targets=(); for file in "${files[@]}"; do targets+=(--test "$file"); done
cargo test --locked --no-run "${targets[@]}"
for round in $(seq "$times"); do
    cargo test --locked --quiet "${targets[@]}" >/tmp/parcelry-repeat.$$ 2>&1 || {
        cat /tmp/parcelry-repeat.$$; echo "round $round of $times failed"; exit 1; }
    echo "round $round of $times passed"
done
rm -f /tmp/parcelry-repeat.$$
