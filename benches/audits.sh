#!/usr/bin/env bash
# What audits cost a tracker at defaults: a real tracker over TLS to so many peers, with so many (peer, share) pairs in
# its database. It is started as after a restart, so that every pair is to be asked at once. It takes half an hour.
#   benches/audits.sh [PEERS] [PAIRS] [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo bench --locked --quiet --bench audits -- "${1:-1000}" "${2:-1000000}" "${3:-/dev/shm}"
