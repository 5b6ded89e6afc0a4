#!/usr/bin/env bash
# Does the same work with parcelry and with other tools on this machine, in one run, each measurement
# next to `cp` of the same file. Installs the other tools itself. See `benches/compare.sh --help`.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH=benches exec python3 -B -m compare "$@"
