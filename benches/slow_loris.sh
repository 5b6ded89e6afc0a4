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

cargo build --release --locked --quiet
bin=${CARGO_TARGET_DIR:-$PWD/target}/release/swarmdrop
work=$(mktemp -d "$base/swarmdrop-loris.XXXXXX")
export XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config XDG_DATA_HOME=$work/data
servers=() attackers=()
trap 'kill "${attackers[@]}" "${servers[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

start() { # NAME ARGS…: starts a server and waits for its first line on stdout
    local name=$1; shift
    "$bin" "$@" --json >"$work/$name.out" 2>"$work/$name.err" &
    servers+=($!)
    for _ in $(seq 100); do [ -s "$work/$name.out" ] && return; sleep 0.1; done
    echo "$name did not start:" >&2; cat "$work/$name.err" >&2; exit 1
}
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2" | tail -n 1; }
median() { sort -g | awk '{ a[NR] = $1 } END { printf "%.3f", a[int((NR + 1) / 2)] }'; }
get() { # FILE: appends the seconds that a get takes
    local started; started=$(date +%s.%N)
    "$bin" get -q "$link" -o "$work/got"
    echo "$(date +%s.%N) $started" | awk '{ print $1 - $2 }' >>"$1"
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
start tracker tracker --listen 127.0.0.1:0 --data "$work/t" --heartbeat 1s --dead-after 1m
invite=$(field peer_invite "$work/tracker.out")
start a peer --invite "$invite" --listen 127.0.0.1:0 --data "$work/a" --name a --keep-free 0B
start b peer --invite "$invite" --listen 127.0.0.1:0 --data "$work/b" --name b --keep-free 0B
SWARMDROP_INVITE=$(field sender_invite "$work/tracker.out")
export SWARMDROP_INVITE
link=$("$bin" share -q "$work/file")
ports=()
for name in tracker a b; do ports+=("$(field address "$work/$name.out" | sed 's/.*://')"); done

get "$work/warm"
for _ in $(seq "$rounds"); do get "$work/alone"; done
for _ in $(seq "$workers"); do
    attack "$((connections / workers))" "${ports[@]}" 2>/dev/null &
    attackers+=($!)
done
sleep 5
held=$(ss -Htn state established 2>/dev/null | wc -l || echo '?')
for _ in $(seq "$rounds"); do get "$work/attacked"; done

echo "$mib MiB, $rounds rounds, $connections connections against each of tracker, peer a and peer b ($held sockets open)"
echo "$(median <"$work/alone") $(median <"$work/attacked")" |
    awk '{ printf "  get alone %.3f s, under attack %.3f s: %.2f x\n", $1, $2, $2 / $1 }'
for index in "${!servers[@]}"; do
    name=$(echo tracker peer-a peer-b | cut -d' ' -f$((index + 1)))
    awk -v name="$name" '/VmHWM/ { printf "  %s peak %.0f MiB\n", name, $2 / 1024 }' "/proc/${servers[$index]}/status"
done
