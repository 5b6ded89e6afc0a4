#!/usr/bin/env bash
# Peak memory of every process, in MiB, at the limits of what a share may list: 100,000 files, a million chunks, and
# metadata that asks for more than it is. In memory, in a mount namespace of its own with room for what claims to be large.
#   benches/memory.sh
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" != inside ]; then
    cargo test --release --locked --test memory --no-run
    exec unshare -Urm "$0" inside
fi
work=$(mktemp -d)
mount -t tmpfs -o size=200G tmpfs "$work"
TMPDIR=$work cargo test --release --locked --quiet --test memory -- --ignored --nocapture --test-threads 1 | grep '^|'
