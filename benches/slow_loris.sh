#!/usr/bin/env bash
# Times `get` of one file with and without thousands of connections that hold on to the tracker and the peers
# and do nothing useful, and shows the peak memory of the servers.
#
#   benches/slow_loris.sh [CONNECTIONS] [MIB] [ROUNDS] [FOLDER]     default: 2000 256 5 /dev/shm
#
# CONNECTIONS are held against the tracker and as many against each peer: a third silent, a third with half a
# request head and a byte more every few seconds, a third with half a TLS handshake. What the servers close is
# opened again.
set -euo pipefail
cd "$(dirname "$0")/.."
connections=${1:-2000} mib=${2:-256} rounds=${3:-5} base=${4:-/dev/shm}
workers=8

. benches/swarm.sh

get() { # FILE: appends the seconds that a get takes
    local started; started=$(now)
    "$bin" get -q "$link" -o "$work/got"
    echo "$(now) $started" | awk '{ print $1 - $2 }' >>"$1"
    cmp "$work/file" "$work/got"; rm "$work/got"
}
attack() { # COUNT PORT…: holds COUNT connections to each port, and opens anew what was closed
    local count=$1 fds port fd n; shift
    while :; do
        fds=()
        for port in "$@"; do
            for n in $(seq "$count"); do
                { exec {fd}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || continue
                fds+=("$fd")
                case $((n % 3)) in
                    1) printf 'GET / HTTP/1.1\r\nX: ' >&"$fd" ;;
                    2) printf '\x16\x03\x01\x02\x00\x01\x00' >&"$fd" ;;
                esac 2>/dev/null || true
            done
        done
        for _ in 1 2 3; do
            sleep 2
            for fd in "${fds[@]}"; do printf 'a' >&"$fd" 2>/dev/null || true; done
        done
        for fd in "${fds[@]}"; do exec {fd}>&-; done
    done
}

ulimit -n "$(ulimit -Hn)"
head -c "${mib}M" /dev/urandom >"$work/file"
start_swarm --heartbeat 1s --dead-after 1m
link=$("$bin" share -q "$work/file")
ports=()
for name in tracker a b; do ports+=("$(field address "$work/$name.out" | sed 's/.*://')"); done

get "$work/warm"
for _ in $(seq "$rounds"); do get "$work/alone"; done
for _ in $(seq "$workers"); do
    attack "$((connections / workers))" "${ports[@]}" 2>/dev/null &
    others+=($!)
done
sleep 5
held=$(ss -Htn state established 2>/dev/null | wc -l || echo '?')
for _ in $(seq "$rounds"); do get "$work/attacked"; done

echo "$mib MiB, $rounds rounds, $connections connections against each of tracker, peer a and peer b ($held sockets open)"
echo "$(median <"$work/alone") $(median <"$work/attacked")" |
    awk '{ printf "  get alone %.3f s, under attack %.3f s: %.2f x\n", $1, $2, $2 / $1 }'
show_peaks
