#!/usr/bin/env bash
# How long a swarm at default rates takes to be whole again after a peer died for good: four peers, a share of
# 200 chunks of 1 MiB with two replicas; its holders are killed one after the other until two peers are left.
#   benches/repair.sh [CHUNKS] [FOLDER] [TRACKER FLAG…]
set -euo pipefail
cd "$(dirname "$0")/.."
chunks=${1:-200} base=${2:-/dev/shm}; shift $(($# < 2 ? $# : 2))
. benches/swarm.sh
peers=(a b c d)
start_swarm "$@"
head -c "$((chunks << 20))" /dev/urandom >"$work/file"
link=$("$bin" share -q --chunk-size 1MiB "$work/file")
replicas() { "$bin" inspect --json "$link" 2>/dev/null | sed -n 's/.*"replicas_least": \([0-9]*\).*/\1/p'; }
held() { find "$work/$1/store/chunks" -type f 2>/dev/null | wc -l; }
dead=" "
for round in 1 2; do
    position=0
    for name in "${peers[@]}"; do
        position=$((position + 1))
        case $dead in *" $name "*) continue ;; esac
        [ "$(held "$name")" -eq "$chunks" ] && break
    done
    dead="$dead$name "
    kill -9 "${servers[$position]}"
    begin=$(now)
    until [ "$(replicas)" = 2 ]; do sleep 1; done
    echo "kill $round (peer $name): two live replicas of all $chunks chunks after $(echo "$(now) - $begin" | bc) s"
done
mkdir "$work/got" && (cd "$work/got" && "$bin" get -q "$link") && cmp "$work/file" "$work/got/file"
echo "two peers are left: get delivers the same bytes"
