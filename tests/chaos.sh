#!/usr/bin/env bash
# A swarm of real processes: kills, stops, closed doors, rot, damaged records, lost disks, lost and restored databases, while
# people share and get; at the end every share is accounted for.
#   tests/chaos.sh [SECONDS] [SEED]     default: 600 s, a seed from the clock
set -euo pipefail
cd "$(dirname "$0")/.."
export PARCELRY_CHAOS_SECONDS=${1:-600} PARCELRY_CHAOS_SEED=${2:-$(date +%s)}
cargo test --release --locked --quiet --test chaos -- --ignored --nocapture
