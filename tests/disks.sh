#!/usr/bin/env bash
# Disks that are full or read-only, under tracker, peer, sender and receiver: a clear error, nothing half-written, and all
# goes on when there is room again. Needs a mount namespace of its own, which it makes with unshare.
#   tests/disks.sh
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" != inside ]; then
    if ! unshare -Urm true 2>/dev/null; then
        echo "SKIPPED: this machine lets nobody make a mount namespace (unshare -Urm)"; exit 0
    fi
    exec unshare -Urm "$0" inside
fi
base=${TMPDIR:-/tmp}
. benches/swarm.sh
disk() { mkdir -p "$work/$1" && mount -t tmpfs -o "size=$2,mode=700" tmpfs "$work/$1"; }
fill() { head -c 1G /dev/zero >"$work/$1/filler" 2>/dev/null || true; }
expect() { # CODE WORDS COMMAND…: the command ends with the code, and says the words
    local code=0; local wanted=$1 words=$2; shift 2
    "$@" >"$work/out" 2>"$work/err" || code=$?
    if [ "$code" -ne "$wanted" ] || ! grep -q "$words" "$work/err"; then
        echo "expected $wanted and \"$words\", got $code from: $*"; cat "$work/out" "$work/err"; exit 1
    fi
}
get() { (cd "$(mktemp -d "$work/got.XXXX")" && "$bin" get -q "$1" && cmp ./* "$work/file"); }
say() { echo "  $*"; }

trap 'code=$?; [ $code = 0 ] || tail -n 5 "$work"/*.err; kill -CONT "${servers[@]}" 2>/dev/null; kill "${servers[@]}" 2>/dev/null; wait 2>/dev/null; cd /; umount "$work"/{t,a,state,bob,few} 2>/dev/null; rm -rf "$work"' EXIT
disk t 40M; disk a 16M; disk state 16M; disk bob 16M
mkdir -p "$work/state/parcelry" && chmod 700 "$work/state/parcelry"
peers=(a b c)
start_swarm --heartbeat 500ms --dead-after 1m
head -c 6M /dev/urandom >"$work/file"

echo "a peer's disk"
link=$("$bin" share -q --replicas 3 "$work/file"); get "$link"; say "has room: three replicas"
fill a
sleep 1.5
"$bin" share -q "$work/file" >"$work/second"; get "$(cat "$work/second")"; say "full: two others take the share"
expect 8 "too little free space" "$bin" share -q --replicas 3 --wait 1s "$work/file"
say "full: a share that needs it is refused with a clear error"
rm "$work/a/filler"
sleep 1.5
"$bin" rm -q "$(cat "$work/second")" 2>/dev/null
mount --bind "$work/a/store" "$work/a/store" && mount -o remount,ro,bind "$work/a/store"
sleep 1.5
"$bin" share -q "$work/file" >"$work/third"; get "$(cat "$work/third")"; say "read-only: two others take the share"
curl_free() { "$bin" status --json | tr -d ' \n' | sed 's/.*"name":"a"[^}]*"usage":{"free_bytes":\([0-9]*\).*/\1/'; }
[ "$(curl_free)" = 0 ] || { echo "a read-only disk is said to have room"; "$bin" status; exit 1; }
kill -STOP "${servers[2]}" "${servers[3]}"; get "$link"; kill -CONT "${servers[2]}" "${servers[3]}"
say "read-only: it still serves what it has"
umount "$work/a/store"
sleep 1.5
"$bin" rm -q "$(cat "$work/third")"
"$bin" share -q --replicas 3 "$work/file" >"$work/fourth"; get "$(cat "$work/fourth")"; say "writable again: three replicas"

echo "the tracker's disk"
fill t
get "$link"; say "full: what is there can be had"
head -c 3M /dev/urandom >"$work/other"
for _ in 1 2 3 4 5 6 7 8; do "$bin" share -q "$work/other" >"$work/out" 2>"$work/err" || break; done
if [ -s "$work/out" ]; then say "full: its journal had room left"; else
    grep -q "internal\|log says more\|refused" "$work/err" || { cat "$work/err"; exit 1; }
    say "full: a share is refused, and no link printed"
fi
rm "$work/t/filler"
"$bin" share -q "$work/file" >"$work/fifth"; get "$(cat "$work/fifth")"; say "room again: shares go on"

echo "the sender's disk"
fill state
expect 8 "No space left\|os error 28" "$bin" share -q "$work/file"
[ ! -s "$work/out" ] || { echo "a link was printed"; exit 1; }
rm "$work/state/filler"
"$bin" share -q "$work/file" >"$work/sixth"; get "$(cat "$work/sixth")"; say "full: no link; room again: shared"

echo "the receiver's disk"
head -c 12M /dev/zero >"$work/bob/filler"
cd "$work/bob"
expect 8 "are needed" "$bin" get -q "$link"
[ ! -e file ] || { echo "something has the final name"; exit 1; }
rm filler
"$bin" get -q "$link"; cmp file "$work/file"; cd - >/dev/null
say "full: refused before anything is fetched; room again: saved"
mkdir "$work/many"; for name in $(seq 100); do echo "$name" >"$work/many/$name"; done
many=$("$bin" share -q "$work/many")
disk few 16M,nr_inodes=60
cd "$work/few"
expect 8 "cannot prepare .*No space left" "$bin" get -q "$many"
[ -z "$(ls -A)" ] || { echo "something was left behind"; ls -A; exit 1; }
cd - >/dev/null; umount "$work/few"; disk few 16M; cd "$work/few"
"$bin" get -q "$many"; diff -r many "$work/many"; cd - >/dev/null
say "no room for so many files: refused before anything is fetched; room again: saved"
for name in tracker a b c; do
    if grep -q panicked "$work/$name.err"; then echo "$name panicked"; grep -A3 panicked "$work/$name.err"; exit 1; fi
done
echo "disks: nothing lost, nothing half-written, no panic"
