#!/usr/bin/env bash
# Times `share` and `get` of one file through a tracker and two peers, all separate processes on this
# machine, against `cp` of the same file, in one run. Prints medians, ratios and peak memory.
#
#   benches/transfer.sh [MIB] [ROUNDS] [FOLDER]     default: 1024 5 /dev/shm
#
# FOLDER should be a RAM disk: otherwise the disk is measured. Needs about 6 times MIB of space.
set -euo pipefail
cd "$(dirname "$0")/.."
mib=${1:-1024} rounds=${2:-5} base=${3:-/dev/shm}

. benches/swarm.sh
# The first touch of memory is slow on a virtual machine: touch and release it before each timed phase.
warm() { head -c "$((mib * 3))M" /dev/zero >"$work/warm"; rm "$work/warm"; }
timed() { # FILE COMMAND…: appends the seconds to FILE, and the peak memory of the command in MiB to FILE.mem
    local file=$1 started; shift
    warm
    started=$(now)
    "$@" >"$work/last.out" 2>"$work/last.err" &
    local pid=$! peak=0 seen
    while seen=$(awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$pid/status" 2>/dev/null) && [ -n "$seen" ]; do
        peak=$seen; sleep 0.02
    done
    wait "$pid" || { cat "$work/last.err" >&2; exit 1; }
    echo "$(now) $started" | awk '{ print $1 - $2 }' >>"$file"
    echo "$peak" >>"$file.mem"
}

head -c "${mib}M" /dev/urandom >"$work/file"
start_swarm --heartbeat 1s --dead-after 1m

for _ in $(seq "$rounds"); do
    timed "$work/cp" cp "$work/file" "$work/copy"; rm "$work/copy"
    timed "$work/share" "$bin" share "$work/file" --json
    link=$(field link "$work/last.out")
    timed "$work/get" "$bin" get "$link" -o "$work/got"
    cmp "$work/file" "$work/got"; rm "$work/got"
    "$bin" rm -q "$link"
    for _ in $(seq 300); do # until the peers have dropped it
        [ "$(find "$work/a/store/chunks" "$work/b/store/chunks" -type f | head -n 1)" ] || break; sleep 0.1
    done
done

cp_s=$(median <"$work/cp")
echo "$mib MiB, $rounds rounds, medians in seconds, ratios to cp:"
for what in cp share get; do
    s=$(median <"$work/$what")
    mem=$(sort -n "$work/$what.mem" | tail -n 1)
    echo "$what $s $cp_s $mem" | awk '{ printf "  %-6s %7.3f s  %5.2f x  peak %s MiB\n", $1, $2, $2 / $3, $4 }'
done
show_peaks
