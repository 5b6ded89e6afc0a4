#!/usr/bin/env bash
# A peer whose machine gets another address while it runs, in network namespaces of its own: the tracker finds it at the new
# one without a restart, within some heartbeats. Needs `ip` (Debian: iproute2).
#   tests/netns.sh
set -euo pipefail
cd "$(dirname "$0")/.."
skip() { echo "SKIPPED: $*"; exit 0; }
if [ "${1:-}" != inside ]; then
    if ! command -v ip >/dev/null; then
        { apt-get update && apt-get install --yes --no-install-recommends iproute2; } >/dev/null 2>&1 ||
            skip "there is no ip (Debian: iproute2), and it cannot be installed"
    fi
    unshare -Urnm true 2>/dev/null || skip "this machine lets nobody make a network namespace (unshare -Urnm)"
    # Names of network namespaces are mounts, which are to be nobody else's.
    exec unshare -Urnm "$0" inside
fi
mount -t tmpfs tmpfs /run || skip "nothing can be mounted in a namespace here"
ip netns add far || skip "no network namespace can be named here"
ip link add near type veth peer name far netns far || skip "no pair of interfaces can be made here"
ip addr add 10.77.0.1/24 dev near
ip link set lo up; ip link set near up
ip -n far addr add 10.77.0.2/24 dev far
ip -n far link set lo up; ip -n far link set far up

bin=${PARCELRY_BIN:-${CARGO_TARGET_DIR:-$PWD/target}/release/parcelry}
[ -x "$bin" ] || cargo build --release --locked
work=$(mktemp -d)
trap 'code=$?; [ $code = 0 ] || tail -n 20 "$work"/*.err; kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
export HOME="$work/home" XDG_CONFIG_HOME="$work/config" XDG_STATE_HOME="$work/state" XDG_DATA_HOME="$work/share"
mkdir -p "$HOME"

heartbeat_ms=1000
tracker() { "$bin" tracker --json --data "$work/tracker" --listen 10.77.0.1:9090 --heartbeat ${heartbeat_ms}ms --dead-after 10s "$@"; }
peer() { ip netns exec "$1" "$bin" peer --json --data "$work/$2" --name "$2" --listen "0.0.0.0:$3" --keep-free 0B --invite "$invite"; }
ready() { for _ in $(seq 200); do [ -s "$1" ] && return; sleep 0.05; done; echo "$1 is not ready"; exit 1; }
field() { sed -E "s/.*\"$2\":\"([^\"]*)\".*/\1/" "$1"; }
list() { "$bin" status --json; }
wait_for() { # SECONDS WHAT COMMAND…
    local end=$((SECONDS + $1)) what=$2; shift 2
    until "$@"; do [ $SECONDS -lt $end ] || { echo "waited in vain for: $what"; list; exit 1; }; sleep 0.1; done
}
is_at() { list | tr -d ' \n' | grep -q "\"addresses\":\[\"$1\""; }

tracker >"$work/tracker.out" 2>"$work/tracker.err" & ready "$work/tracker.out"
invite=$(field "$work/tracker.out" peer_invite)
peer far mover 7100 >"$work/mover.out" 2>"$work/mover.err" & ready "$work/mover.out"
"$bin" join "$(field "$work/tracker.out" sender_invite)" >/dev/null 2>&1
wait_for 5 "the peer at its first address" is_at 10.77.0.2:7100
head -c 1M /dev/urandom >"$work/file"
link=$("$bin" share -q --replicas 1 "$work/file")

ip -n far addr del 10.77.0.2/24 dev far
ip -n far addr add 10.77.0.3/24 dev far
begun=$(date +%s%N)
wait_for 10 "the peer at its new address" is_at 10.77.0.3:7100
took_ms=$((($(date +%s%N) - begun) / 1000000))
echo "  a peer that moved is found again after $took_ms ms, with heartbeats of $heartbeat_ms ms"
[ $took_ms -le $((3 * heartbeat_ms + 500)) ] || { echo "that is more than three heartbeats"; exit 1; }
(cd "$(mktemp -d "$work/got.XXXX")" && "$bin" get -q "$link" && cmp ./* "$work/file")
echo "  what it holds can be had there"
