#!/usr/bin/env bash
# Fuzzes every parser that meets hostile bytes, starting from the committed corpus.
#   fuzz/run.sh [SECONDS] [TARGET…]     default: 60 seconds for each of them
# Needs cargo-fuzz and a C++ compiler, and installs them if they are not there. Finds are in fuzz/artifacts/TARGET/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}; shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(link invite manifest metadata terms grant bodies enclosed proof receipt)
# The fuzzer's runtime is C++.
command -v c++ >/dev/null || { apt-get update -qq && apt-get install -qq -y g++; }
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --version 0.13.2 --locked
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for target in "${targets[@]}"; do
    mkdir -p "$found/$target"
    # What is found goes to a directory of its own: the committed corpus stays small. Sanitizers need more than the
    # stable compiler; the coverage that guides the fuzzer does not.
    log=$found/$target.log
    cargo fuzz run --sanitizer none "$target" "$found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        >"$log" 2>&1 || { tail -n 40 "$log"; echo "$target: failed"; exit 1; }
    echo "$target: $(awk '/stat::number_of_executed_units/ { print $2 }' "$log") inputs, nothing found"
done
