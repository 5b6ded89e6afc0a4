#!/usr/bin/env bash
# One scrub over 10,000 chunks of which 20 have rotted on one of two replicas: what it finds, how long it takes, and that
# repair restores just those.
#   benches/scrub.sh [CHUNKS] [ROTTEN] [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
chunks=${1:-10000} rotten=${2:-20} base=${3:-/dev/shm}
. benches/swarm.sh
start_swarm --heartbeat 1s --dead-after 1m
head -c "$((chunks << 16))" /dev/urandom >"$work/file"
link=$("$bin" share -q --chunk-size 64KiB "$work/file")
list() { find "$work/b/store/chunks" -type f -printf '%f %i %T@ %s\n' | sort; }
kill "${servers[2]}"; wait "${servers[2]}" 2>/dev/null || true
list >"$work/before"
find "$work/b/store/chunks" -type f | sort | shuf -n "$rotten" >"$work/rotten"
while read -r file; do # flips a bit, and leaves the file's date as a failing disk does
    at=$((RANDOM % 65000)) date=$(stat -c %y "$file")
    byte=$(od -An -tu1 -j "$at" -N 1 "$file")
    # shellcheck disable=SC2059
    printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
    touch -d "$date" "$file"
done <"$work/rotten"
begin=$(now)
start_peer b --scrub-now
until grep -q '"damaged"' "$work/b.out"; do sleep 0.1; done
found=$(sed -n 's/.*"damaged":\([0-9]*\).*/\1/p' "$work/b.out")
echo "scrub read $chunks chunks in $(echo "$(now) - $begin" | bc) s and found $found damaged"
[ "$found" -eq "$rotten" ]
until [ "$(find "$work/b/store/chunks" -type f | wc -l)" -eq "$chunks" ]; do sleep 0.1; done
for _ in $(seq 100); do # until the tracker has heard of the copies
    "$bin" verify -q "$link" >/dev/null 2>&1 && break; sleep 0.2
done
"$bin" verify -q "$link" >/dev/null
list >"$work/after"
changed=$({ diff "$work/before" "$work/after" || true; } | sed -n 's/^> \([^ ]*\) .*/\1/p' | sort)
[ "$changed" = "$(xargs -n1 basename <"$work/rotten" | sort)" ]
echo "repair restored just those $rotten: every replica of every chunk is good, no other file was touched"
