#!/usr/bin/env bash
# Where the time of `share` and `get` goes: perf looks at all cores while a tracker, two peers and the command, all separate
# processes on this machine, work on a RAM disk. Prints a table of CPU time by group and process for each of the two, and
# writes docs/profile-share.svg and docs/profile-get.svg, flame graphs for a browser.
#
#   benches/profile.sh [MIB] [FOLDER]     default: 1024 /dev/shm
#
# FOLDER should be a RAM disk, with 6 times MIB of space. What perf recorded stays in target/profile/data, for
# `perf report -i`. Needs perf, and the right to look at all processes, which root has; where there is apt-get, root gets what
# is missing. Exit status 3 says that perf cannot be had, and so nothing is known.
#
# A clock takes the samples, for virtual machines often have no counters; unlike these it sees idle cores, too. What the
# kernel does with interrupts off is counted where it allows them again.
set -euo pipefail
cd "$(dirname "$0")/.."
mib=${1:-1024} base=${2:-/dev/shm}
event=cpu-clock frequency=997

cannot() { echo "NO PROFILE: $*" >&2; exit 3; }

# The C library's symbols tell copies from allocations.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! { command -v perf && dpkg -s libc6-dbg; } >/dev/null 2>&1; then
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends linux-perf libc6-dbg; } >&2 || true
fi
command -v perf >/dev/null || cannot "perf is not there, and cannot be installed (Debian: linux-perf)"
command -v python3 >/dev/null || cannot "python3 is not there"
probe=$(mktemp)
refusal=$(perf record -q -a -g -e "$event" -F "$frequency" --no-buildid-cache -o "$probe" -- sleep 0.1 2>&1) ||
    { rm -f "$probe"; cannot "perf may not look at all processes here: $refusal"; }
rm -f "$probe"*
if ! awk '$1 !~ /^0+$/ { named = 1; exit } END { exit !named }' /proc/kallsyms 2>/dev/null; then
    echo "The kernel's functions have no names here (kernel.kptr_restrict): all of it is in \"kernel: rest\"." >&2
fi

tools=$PWD/target/tools/bin
tool() { # CRATE PROGRAM: builds a program from the registry, once
    [ -x "$tools/$2" ] || cargo install --quiet --locked --root "${tools%/bin}" --bin "$2" "$1"
}
tool inferno inferno-flamegraph
tool rustfilt rustfilt

# Stacks are followed by their frame pointers. Line tables make the C code keep them, too; the assembler code does not.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/profile
export CARGO_PROFILE_RELEASE_DEBUG=1 RUSTFLAGS="${RUSTFLAGS:-} -C force-frame-pointers=yes"
. benches/swarm.sh
data=$CARGO_TARGET_DIR/data
mkdir -p "$data"

# The first touch of memory is slow on a virtual machine: touch and release it before each recording.
warm() { head -c "$((mib * 3))M" /dev/zero >"$work/warm"; rm "$work/warm"; }
record() { # NAME COMMAND…: what all cores do until the command ends; its process id goes to $work/pid
    local name=$1; shift
    warm
    perf record -q -a -g -e "$event" -F "$frequency" --no-buildid-cache -o "$data/$name.data" -- \
        sh -c 'echo $$ >"$0"; exec "$@"' "$work/pid" "$@" >"$work/out" 2>"$work/err" || { cat "$work/err" >&2; exit 1; }
    cp "$work/pid" "$work/$name.pid"
}
show() { # NAME TITLE: the table of a recording, and its flame graph
    local name=$1 title=$2
    local processes=("$name=$(cat "$work/$name.pid")" "tracker=${servers[0]}" "peer a=${servers[1]}" "peer b=${servers[2]}")
    echo; echo "$title:"; echo
    perf script -i "$data/$name.data" --no-inline -F comm,pid,tid,time,event,ip,sym,dso 2>"$work/script.err" | "$tools/rustfilt" |
        python3 -B benches/profile_groups.py "$work/$name.folded" "$frequency" "${processes[@]}" || { cat "$work/script.err" >&2; exit 1; }
    "$tools/inferno-flamegraph" --title "$title" --colors rust --deterministic --minwidth 0.2 --width 1200 --countname samples \
        <"$work/$name.folded" >"docs/profile-$name.svg"
}

head -c "${mib}M" /dev/urandom >"$work/file"
start_swarm --heartbeat 1s --dead-after 1m
record share "$bin" share "$work/file" --json
link=$(field link "$work/out")
record get "$bin" get "$link" -o "$work/got"
cmp "$work/file" "$work/got"

show share "share of $mib MiB to two peers"
show get "get of $mib MiB from two peers"
echo
echo "wrote docs/profile-share.svg and docs/profile-get.svg; \"others\" is the rest of the machine, with perf itself"
