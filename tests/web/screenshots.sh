#!/usr/bin/env bash
# Makes docs/images/{get,share,dashboard}-{light,dark}.png from a real swarm with sample data.
# Run `tests/web/run.sh --only types` once before: it installs the browser and what drives it.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${PARCELRY_BIN:-}" ]; then
    cargo build --release --locked
    export PARCELRY_BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/parcelry
fi
export PARCELRY_WEB_MODULES=${CARGO_TARGET_DIR:-$PWD/target}/web-tests
node tests/web/screenshots.mjs docs/images
