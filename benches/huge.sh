#!/usr/bin/env bash
# How long `share` of a huge file takes until a peer has its first chunk, and until it has the next one after it
# was killed: nothing is read or promised beforehand that would take longer for a larger file.
#
#   benches/huge.sh [GB] [ROUNDS] [CHUNKS]     default: 100 5 400
#
# Each round kills the share when CHUNKS chunks of 1 MiB have arrived. Needs root: the peers' disk is a RAM disk that
# promises more than the machine has, as each killed share keeps what it was promised for an hour; and the file has its room
# reserved on a disk that is itself a file with holes there, as its own holes would not be sent.
set -euo pipefail
cd "$(dirname "$0")/.."
gb=${1:-100} rounds=${2:-5} chunks=${3:-400}
[ "$(id -u)" = 0 ] || { echo "needs root, to mount a RAM disk" >&2; exit 2; }

base=$(mktemp -d)
mount -t tmpfs -o "size=$((gb * 2 * (rounds + 2)))g" parcelry-huge "$base"
disk=$base/disk
end() {
    kill "${servers[@]}" 2>/dev/null || true; wait 2>/dev/null || true
    ! mountpoint -q "$disk" || umount "$disk"
    umount -l "$base"; rmdir "$base"
}
servers=()
trap end EXIT
. benches/swarm.sh
trap end EXIT
mkdir "$disk"; truncate -s "$((gb * 11 / 10 + 1))GB" "$base/image"
mkfs.ext4 -q "$base/image"; mount -o loop "$base/image" "$disk"

arrived() { shopt -s nullglob; local files=("$work"/[ab]/store/chunks/??/*); echo "${#files[@]}"; }
seconds_until_next() { # shares until a peer has more chunks than now; the seconds that it takes from the command's start
    local before started ended; before=$(arrived); started=$(now)
    "$bin" share -q "$disk/huge" >"$work/share.out" 2>"$work/share.err" &
    share=$!
    until [ "$(arrived)" -gt "$before" ]; do kill -0 "$share" || { cat "$work/share.err" >&2; exit 1; }; done
    ended=$(now); echo "$ended $started" | awk '{ printf "%.3f\n", $1 - $2 }' >>"$1"
}
kill_share() { # when this many chunks have arrived
    until [ "$(arrived)" -ge "$1" ]; do kill -0 "$share" || { cat "$work/share.err" >&2; exit 1; }; sleep 0.01; done
    kill -9 "$share"; wait "$share" 2>/dev/null || true
}

start_swarm --heartbeat 1s --dead-after 1m
for _ in $(seq "$rounds"); do
    fallocate -l "${gb}GB" "$disk/huge"
    seconds_until_next "$work/first"; kill_share "$chunks"
    seconds_until_next "$work/resumed"; kill_share "$((chunks * 2))"
    rm -r "$work/state" "$disk/huge" # the next round's share is another one
    for peer in a b; do find "$work/$peer/store/chunks" -type f -delete; done
done
echo "$gb GB, $rounds rounds, medians in seconds from the start of the command:"
echo "  the first chunk is at a peer after   $(median <"$work/first")"
echo "  after a kill, the next one is after  $(median <"$work/resumed")"
