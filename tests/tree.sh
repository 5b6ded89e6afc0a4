#!/usr/bin/env bash
# A directory of the shape of a Linux kernel's source tree goes and comes back: 70,000 small files, names that differ only in
# case, executable scripts, symlinks within it; rsync finds no difference but the symlinks that lead out of it, which are
# named. Needs rsync, which it installs on Debian.
#   tests/tree.sh [FILES]     default: 70000
set -euo pipefail
cd "$(dirname "$0")/.."
files=${1:-70000}
bin=${PARCELRY_BIN:-${CARGO_TARGET_DIR:-$PWD/target}/release/parcelry}
[ -x "$bin" ] || cargo build --release --locked
command -v rsync >/dev/null || { apt-get update && apt-get install --yes --no-install-recommends rsync; } >/dev/null
work=$(mktemp -d)
trap 'code=$?; [ $code = 0 ] || tail -n 20 "$work"/*.err; kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
export HOME="$work/home" XDG_CONFIG_HOME="$work/config" XDG_STATE_HOME="$work/state" XDG_DATA_HOME="$work/share"
mkdir -p "$HOME" "$work/got"
umask 022

python3 - "$work/linux" "$files" <<'PYTHON'
import os, pathlib, sys
root, files = pathlib.Path(sys.argv[1]), int(sys.argv[2])
for number in range(files):
    folder = root / f"drivers/class{number % 40}" / f"chip{number // 40 % 60}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"unit{number}.c").write_text(f"/* {number} */\n" * (number % 50 + 1))
netfilter = root / "include/uapi/linux/netfilter"
netfilter.mkdir(parents=True)
for name in ("xt_CONNMARK.h", "xt_connmark.h", "xt_DSCP.h", "xt_dscp.h", "xt_TCPMSS.h", "xt_tcpmss.h"):
    (netfilter / name).write_text(name)
scripts = root / "scripts"
scripts.mkdir()
for name in ("checkpatch.pl", "mkcompile_h", "aux.sh"):
    (scripts / name).write_text("#!/bin/sh\n")
    (scripts / name).chmod(0o755)
(scripts / "con.c").write_text("a device elsewhere\n")
(root / "arch/arm/boot/dts").mkdir(parents=True)
(root / "scripts/dtc/include-prefixes").mkdir(parents=True)
(root / "scripts/dtc/include-prefixes/arm").symlink_to("../../../arch/arm/boot/dts")
(root / "arch/arm/boot/dts/board.dts").write_text("/dts-v1/;\n")
(root / "Documentation/Changes").parent.mkdir()
(root / "Documentation/process").mkdir()
(root / "Documentation/process/changes.rst").write_text("x\n")
(root / "Documentation/Changes").symlink_to("process/changes.rst")
(root / "empty").mkdir()
(root / "leads-out").symlink_to("/etc/hostname")
(root / "leads-nowhere").symlink_to("gone")
PYTHON

field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2" | tail -n 1; }
start() { # NAME ARGS…
    local name=$1; shift
    "$bin" "$@" --json --listen 127.0.0.1:0 --data "$work/$name" >"$work/$name.out" 2>"$work/$name.err" &
    for _ in $(seq 200); do [ -s "$work/$name.out" ] && return; sleep 0.1; done
    echo "$name did not start"; exit 1
}
start tracker tracker
for name in a b; do start "$name" peer --invite "$(field peer_invite "$work/tracker.out")" --keep-free 0B; done
PARCELRY_INVITE=$(field sender_invite "$work/tracker.out"); export PARCELRY_INVITE
code=0; "$bin" share -q "$work/linux" >"$work/link" 2>"$work/share.err" || code=$?
[ "$code" = 3 ] || { echo "share: exit code $code"; exit 1; }
for name in leads-out leads-nowhere; do grep -q "$name" "$work/share.err" || { echo "$name is not named"; exit 1; }; done
(cd "$work/got" && "$bin" get -q "$(cat "$work/link")" 2>"$work/get.err")
rsync -ani --delete "$work/linux/" "$work/got/linux/" >"$work/differences" 2>&1
# Modification times of directories and symlinks are their own.
grep -v '^\.[dL]\.\.t\.\.\.\.\.\. ' "$work/differences" | sort >"$work/left" || true
printf '%s\n' 'cL+++++++++ leads-nowhere -> gone' 'cL+++++++++ leads-out -> /etc/hostname' >"$work/expected"
diff "$work/expected" "$work/left"
echo "$(find "$work/linux" -type f | wc -l) files, $(find "$work/linux" -type l | wc -l) symlinks: equal but for the two that lead out, which were named"
