#!/usr/bin/env bash
# Save, go on after kill -9, replace, and share, on every kind of file system that can be mounted here: ext4, tmpfs, and exFAT and NTFS
# by FUSE; a disk that runs full in the middle of a folder; names that differ in case only where they are one (exFAT, ext4 with casefold), and names that are none; what is mounted by
# itself in a target; and a peer whose store is on exFAT. Each is made in a file and mounted in a namespace of its own, which takes root.
# It says what it skips; with --all, what could be installed and is not there is a failure.
#   tests/file_systems.sh [--all]
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" != inside ]; then
    # Mounts that nobody else sees, and that end with this.
    unshare -m true 2>/dev/null || { echo "SKIPPED: only root can mount what is to be tried"; exit 0; }
    exec unshare -m "$0" inside "$@"
fi
shift
all=${1:-}
skipped=()
skip() { echo "SKIPPED: $*"; skipped+=("$1"); }
missing() { [ "$all" != --all ] || { echo "$*"; exit 1; }; skip "$@"; }
need() { # COMMAND PACKAGE…: installs the packages if the command is not there
    local command=$1; shift
    command -v "$command" >/dev/null && return
    { apt-get update && apt-get install --yes --no-install-recommends "$@"; } >/dev/null 2>&1 || return 1
    command -v "$command" >/dev/null
}

bin=${PARCELRY_BIN:-${CARGO_TARGET_DIR:-$PWD/target}/release/parcelry}
[ -x "$bin" ] || cargo build --release --locked
work=$(mktemp -d)
mounted=() loops=()
end() {
    local code=$?
    [ $code = 0 ] || tail -n 10 "$work"/*.err
    kill $(jobs -p) 2>/dev/null; wait 2>/dev/null
    for at in "${mounted[@]}"; do [ -z "$at" ] || umount "$at" 2>/dev/null || umount -l "$at" || true; done
    for loop in "${loops[@]}"; do losetup -d "$loop" || true; done
    rm -rf "$work"
}
trap end EXIT
export HOME="$work/home" XDG_CONFIG_HOME="$work/config" XDG_STATE_HOME="$work/state" XDG_DATA_HOME="$work/share"
mkdir -p "$HOME"
fail() { echo "FAILED: $*"; cat "$work/said" 2>/dev/null; exit 1; }
say() { echo "  $*"; }

image_mib=300
image() { rm -f "$work/$1.image"; truncate -s ${image_mib}M "$work/$1.image"; }
mounts() { # NAME COMMAND…: mounts at $work/NAME, or says why not
    local name=$1; shift
    mkdir -p "$work/$name"
    "$@" "$work/$name" >"$work/mount.out" 2>&1 || { tail -n 1 "$work/mount.out"; return 1; }
    mounted+=("$work/$name")
}
mount_tmpfs() { mounts tmpfs mount -t tmpfs -o size=${image_mib}M tmpfs; }
mount_ext4() { image ext4 && mkfs.ext4 -q -m 0 -b 4096 "$work/ext4.image" && mounts ext4 mount -o loop "$work/ext4.image"; }
mount_casefold() {
    image casefold && mkfs.ext4 -q -O casefold -E encoding=utf8 "$work/casefold.image" && mounts casefold mount -o loop "$work/casefold.image" || return 1
    mkdir "$work/casefold/folds" && chattr +F "$work/casefold/folds" || { echo "chattr +F is refused"; return 1; }
}
mount_exfat() { # [OPTION…]: exfat-fuse takes a block device only
    image exfat && mkfs.exfat "$work/exfat.image" >/dev/null 2>&1 && loop=$(losetup -f --show "$work/exfat.image") || return 1
    loops+=("$loop")
    mounts exfat mount.exfat-fuse "$@" "$loop"
}
mount_ntfs() { image ntfs && mkntfs -q -F "$work/ntfs.image" >/dev/null 2>&1 && mounts ntfs ntfs-3g "$work/ntfs.image"; }

start() { # NAME ARGS…: starts a server and waits for its first line
    local name=$1; shift
    "$bin" "$@" --json >"$work/$name.out" 2>"$work/$name.err" &
    for _ in $(seq 200); do [ -s "$work/$name.out" ] && return; sleep 0.05; done
    fail "$name did not start"
}
field() { sed -E "s/.*\"$2\":\"([^\"]*)\".*/\1/" "$work/$1.out"; }
start_peer() { start "$1" peer --data "$2" --name "$1" --listen 127.0.0.1:0 --keep-free 0B --invite "$(field tracker peer_invite)"; }

start tracker tracker --data "$work/tracker.data" --listen 127.0.0.1:0
start_peer one "$work/one.data"
start_peer two "$work/two.data"
"$bin" join -q "$(field tracker sender_invite)"
mkdir -p "$work/from/folder/sub"
head -c 100M /dev/urandom >"$work/from/file"
head -c 3M /dev/urandom >"$work/from/folder/a"
head -c 100K /dev/urandom >"$work/from/folder/sub/b"
mkdir -p "$work/from/case/X" "$work/from/case/x"
for name in Name name other X/a x/b x/A; do echo "$name" >"$work/from/case/$name"; done
ln -s other "$work/from/case/link"
echo colon >"$work/from/a:b"
case=$("$bin" share -q "$work/from/case")
mkdir "$work/from/large_case"; cp "$work/from/case/Name" "$work/from/case/name" "$work/from/large_case"; ln "$work/from/file" "$work/from/large_case/zero"
large_case=$("$bin" share -q --chunk-size 64KiB "$work/from/large_case")
colon=$("$bin" share -q "$work/from/a:b")
truncate -s 60M "$work/from/sparse"
head -c 1M /dev/urandom | dd of="$work/from/sparse" bs=1M seek=20 conv=notrunc status=none
truncate -s 1T "$work/from/huge"
head -c 1M /dev/urandom | dd of="$work/from/huge" bs=1M seek=20 conv=notrunc status=none
file=$("$bin" share -q --chunk-size 64KiB "$work/from/file")
sparse=$("$bin" share -q "$work/from/sparse")
huge=$("$bin" share -q "$work/from/huge")
folder=$("$bin" share -q --chunk-size 64KiB "$work/from/folder")

noted() { cat "$work"/state/parcelry/downloads/*/chunks 2>/dev/null | wc -c; }
get() { "$bin" get "$@" 2>"$work/said"; }
expect() { # CODE WORDS COMMAND…
    local code=0 wanted=$1 words=$2; shift 2
    "$@" || code=$?
    [ "$code" = "$wanted" ] && grep -q "$words" "$work/said" || fail "expected $wanted and \"$words\", got $code from: $*"
}
holes=kept
journey() { # FOLDER: save, go on, replace in it; holes are kept, or there is no room for a file with too large ones
    cd "$1"
    "$bin" get -q "$file" & local get=$!
    for _ in $(seq 5000); do [ "$(noted)" -ge 1000 ] && break; done
    kill -9 $get; wait $get 2>/dev/null || true
    [ ! -e file ] || fail "killed too late to show anything"
    get "$file" || fail "could not go on"
    grep -q "^Resuming: " "$work/said" || fail "all was fetched again"
    cmp file "$work/from/file"
    expect 9 "or replace it with --force" get "$file"
    echo old >file
    get --force "$file" || fail "could not replace a file"
    cmp file "$work/from/file"
    get "$folder" || fail "could not save a folder"
    diff -r folder "$work/from/folder"
    expect 9 "into it with --force" get "$folder"
    echo old >folder/a; echo mine >folder/mine
    get --force "$folder" || fail "could not put files into a folder"
    [ "$(cat folder/mine)" = mine ] || fail "a file of the user's is gone"
    rm folder/mine; diff -r folder "$work/from/folder"
    [ "$(find . -name '.parcelry*' | wc -l)" = 0 ] || fail "something was left behind"
    (cd "$(mktemp -d "$work/got.XXXX")" && "$bin" get -q "$("$bin" share -q --replicas 1 "$1/folder")" && diff -r folder "$work/from/folder")
    get "$sparse" || fail "could not save a file with holes"
    cmp sparse "$work/from/sparse"
    if [ "$holes" = kept ]; then
        [ "$(($(stat -c %b sparse) * 512))" -lt 10000000 ] || fail "the holes were filled"
        get "$huge" || fail "could not save a file that is larger than the disk, but for its holes"
        [ "$(stat -c %s huge)" = 1099511627776 ] || fail "it has another length"
        cmp -n 1M -i 20M huge "$work/from/huge"
        rm huge
    else
        expect 8 "as files have no holes there" get "$huge"
    fi
    [ "$(find . -name '.parcelry*' | wc -l)" = 0 ] || fail "something was left behind"
    rm -r file folder sparse
    cd - >/dev/null
}
folds() { # FOLDER [LINK]: of two names that are one there, the first is saved and the other one named; LINK: whether there are symlinks
    local round force=
    cd "$1"
    for round in first again; do
        expect 3 "saved, but " get $force "$case"
        for path in case/name case/x/A; do grep -q "^left out $path: " "$work/said" || fail "$path is not named"; done
        for path in Name other X/a; do [ "$(cat "case/$path")" = "$path" ] || fail "$path is not what was shared"; done
        [ "$(cat case/X/b)" = x/b ] || fail "x/b is not in the folder that is X and x"
        [ ! -e case/mine ] || [ "$(cat case/mine)" = mine ] || fail "a file of the user's is gone"
        if [ -n "${2:-}" ]; then [ "$(readlink case/link)" = other ] || fail "the symlink is not there"
        else grep -q "^left out case/link: " "$work/said" || fail "the symlink is not named"; fi
        rm -f case/mine; [ "$(find case | wc -l)" = $((${2:+1} + 6)) ] || fail "something else is there: $(find case)"
        # Once more, into the folder that is there, with a file of the user's in it.
        force=--force; echo mine >case/mine
    done
    rm -f case/mine; mv case/other case/oTHER_ && mv case/oTHER_ case/oThEr
    expect 3 "saved, but " get --force "$case"
    [ "$(cat case/other)" = other ] && [ "$(find case -iname other | wc -l)" = 1 ] || fail "one that differs in case was not replaced"
    # A single file whose name is there in another case is refused.
    echo mine >FILE; expect 9 "exists already" get "$file"; [ "$(cat FILE)" = mine ] || fail "FILE was overwritten"
    rm -r case FILE
    # Killed, and its journal lost: what stands under one of the two names is not taken for the other.
    "$bin" get -q "$large_case" 2>/dev/null & local get=$!
    for _ in $(seq 5000); do [ "$(noted)" -ge 1000 ] && break; done
    kill -9 $get; wait $get 2>/dev/null || true
    [ ! -e large_case ] || fail "killed too late to show anything"
    rm -r "$work/state/parcelry/downloads"
    expect 3 "saved, but " get "$large_case"
    grep -q "nothing in it can be gone on with" "$work/said" || fail "it does not say what became of what was fetched before"
    grep -q "^left out large_case/name: " "$work/said" || fail "large_case/name is not named"
    [ "$(cat large_case/Name)" = Name ] && cmp large_case/zero "$work/from/file" || fail "something is not what was shared"
    rm -r large_case
    [ "$(find . -name '.parcelry*' | wc -l)" = 0 ] || fail "something was left behind"
    cd - >/dev/null
}
takes_no_colon() { # FOLDER: a file whose own name is none there is refused before anything is fetched
    cd "$1"
    expect 1 "can be called a:b: " get "$colon"
    grep -q "another name: -o .*/NAME" "$work/said" || fail "it does not say what helps"
    [ "$(find . -name '.parcelry*' -o -name 'a*b' | wc -l)" = 0 ] || fail "something was left behind"
    get -o other "$colon" && [ "$(cat other)" = colon ] || fail "another name does not help"
    rm other
    cd - >/dev/null
}
mounted_inside() { # FOLDER: what is mounted by itself in a target is named before anything is fetched
    local at words
    cd "$1"
    mkdir -p folder/sub mounted; echo mine >mounted/b; echo mine >mounted/file; echo kept >folder/a; echo old >folder/sub/b; echo old >file
    for at in folder/sub/b folder/sub file; do
        if [ "$at" = folder/sub ]; then mount --bind mounted "$at"; words=$folder; else mount --bind mounted/"$(basename $at)" "$at"; words=$folder; fi
        [ "$at" != file ] || words=$file
        expect 9 "$at is mounted there by itself" get --force "$words"
        umount "$at"
    done
    [ "$(cat folder/a mounted/b mounted/file folder/sub/b file | sort -u | tr '\n' ' ')" = "kept mine old " ] || fail "something was replaced"
    [ "$(find . -name '.parcelry*' | wc -l)" = 0 ] || fail "something was left behind"
    [ "$(ls "$work/state/parcelry/downloads" | wc -l)" = 0 ] || fail "a journal was left behind"
    get --force "$folder" && diff -r folder "$work/from/folder" || fail "cannot be saved when nothing is mounted there"
    rm -r folder mounted file
    cd - >/dev/null
}
runs_full() { # FOLDER: the disk is full in the middle of small files, and still is at the next attempt; nothing is lost by it
    local many before
    mkdir "$work/from/many"
    head -c 3000000 /dev/urandom | split -b 1000 -a 4 -d - "$work/from/many/"
    many=$("$bin" share -q --chunk-size 64KiB "$work/from/many")
    cd "$1"
    # There is room for all bytes, and not for a block to each file.
    fallocate -l "$(($(df --output=avail -B1 . | tail -n 1) - (6 << 20)))" filler
    expect 8 "goes on from here" get "$many"
    before=$(noted)
    [ "$before" -gt 50 ] || fail "nothing was fetched that could be lost"
    head -c 1G /dev/zero >rest 2>/dev/null || true
    expect 8 "goes on from here" get "$many"
    [ "$(noted)" -ge "$before" ] || fail "what was fetched was given up"
    rm filler rest
    get "$many" || fail "could not go on when there was room"
    grep -q "^Resuming: " "$work/said" || fail "all was fetched again"
    diff -r many "$work/from/many"
    [ "$(find . -name '.parcelry*' | wc -l)" = 0 ] || fail "something was left behind"
    rm -r many
    cd - >/dev/null
}
tries() { # NAME: mounts it and makes the journey
    local why
    if ! "mount_$1" >"$work/why"; then why=$(cat "$work/why"); skip "$1" "cannot be mounted here: $why"; return; fi
    journey "$work/$1"
    say "$1: saved, gone on with, replaced"
}

# A device does not read as zeros where nothing was written.
head -c 70M /dev/zero | tr '\0' x >"$work/device.image"
if loop=$(losetup -f --show "$work/device.image"); then
    loops+=("$loop")
    get "$sparse" -o "$loop" || fail "could not write into a device"
    cmp -n "$(stat -c %s "$work/from/sparse")" "$loop" "$work/from/sparse"
    [ "$(tail -c 1M "$loop" | tr -d x | wc -c)" = 0 ] || fail "more was written into the device than the file is long"
    say "a device: written into, with zeros where the file has holes"
else skip device "there is no loop device here"; fi

has_fuse=yes
[ -c /dev/fuse ] || mknod /dev/fuse c 10 229 2>/dev/null || true
{ : <>/dev/fuse; } 2>/dev/null || has_fuse=

tries tmpfs
mounted_inside "$work/tmpfs"
say "tmpfs: what is mounted in a target is named"
if need mkfs.ext4 e2fsprogs; then
    tries ext4
    if [[ " ${skipped[*]} " != *" ext4 "* ]]; then
        runs_full "$work/ext4"
        say "ext4: full in the middle of many small files, and gone on with"
    fi
    if mount_casefold >"$work/why" 2>&1; then
        folds "$work/casefold/folds" links
        say "ext4 with casefold: of names that differ in case only one is saved and the others are named"
    else skip casefold "ext4 with casefold cannot be mounted here: $(tail -n 1 "$work/why")"; fi
else missing ext4 "there is no mkfs.ext4 (Debian: e2fsprogs)"; fi
if [ -z "$has_fuse" ]; then skip FUSE "this machine has no /dev/fuse"; else
    if need ntfs-3g ntfs-3g fuse3; then tries ntfs; else missing ntfs "there is no ntfs-3g (Debian: ntfs-3g)"; fi
    if need mount.exfat-fuse exfat-fuse exfatprogs fuse3 && need mkfs.exfat exfatprogs; then
        holes=none
        tries exfat
        if [[ " ${skipped[*]} " != *" exfat "* ]]; then
            folds "$work/exfat"
            takes_no_colon "$work/exfat"
            say "exfat: of names that differ in case only one is saved and the others are named; a name with a colon is refused at once"
            # Others can write there; the mount can forbid it.
            expect 10 "umask=077" "$bin" peer --data "$work/exfat/peer" --listen 127.0.0.1:0 --invite "$(field tracker peer_invite)" 2>"$work/said"
            umount "$work/exfat"; mounted=("${mounted[@]/"$work/exfat"/}")
            mount_exfat -o umask=077 >/dev/null
            journey "$work/exfat"
            say "exfat, umask=077: saved, gone on with, replaced"
            start_peer usb "$work/exfat/peer"
            link=$("$bin" share -q --replicas 3 --wait 10s --chunk-size 64KiB "$work/from/folder")
            "$bin" verify -q "$link" >/dev/null || fail "a peer's store on exFAT is not whole"
            say "exfat, umask=077: holds a peer's store"
        fi
    else missing exfat "there is no exfat-fuse or mkfs.exfat (Debian: exfat-fuse, exfatprogs)"; fi
fi
for name in tracker one two usb; do
    ! grep -q panicked "$work/$name.err" 2>/dev/null || fail "$name panicked"
done
echo "file systems: nothing lost, nothing fetched twice, nothing left behind${skipped[*]:+; skipped: ${skipped[*]}}"
