#!/usr/bin/env bash
# The tests of the web page: types, units, and real Chromium against a real swarm; over TLS Firefox, too. On Debian, as
# root, it installs what is missing.
#
#   tests/web/run.sh                    all
#   tests/web/run.sh --only NAME        types, unit, a file (get, share, …), or the tests whose names match
#
#   PARCELRY_BIN=PATH      the binary to test, instead of building it
#   WEB_TEST_LARGE=1       1 GiB instead of 300 MB for the bound on memory
set -euo pipefail
cd "$(dirname "$0")/../.."
only=
case ${1:-} in
    --only) only=${2:?--only needs a name} ;;
    "") ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

packages=()
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
command -v python3 >/dev/null || packages+=(python3)
command -v openssl >/dev/null || packages+=(openssl)
command -v certutil >/dev/null || packages+=(libnss3-tools)
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || packages+=(chromium)
[ -x "${FIREFOX:-/usr/bin/firefox-esr}" ] || packages+=(firefox-esr)
if [ ${#packages[@]} -gt 0 ]; then
    apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${packages[@]}"
fi
export PARCELRY_WEB_MODULES=${CARGO_TARGET_DIR:-$PWD/target}/web-tests
work=$PARCELRY_WEB_MODULES
mkdir -p "$work"
rm -rf "$work/failures"
# Debian's own may be too old for its cryptography.
if [ "$(node --print 'process.versions.node.split(".")[0]')" -lt 20 ]; then
    npm install --prefix "$work/node" --no-audit --no-fund node@22
    PATH=$work/node/node_modules/.bin:$PATH
fi
if ! cmp --silent tests/web/package-lock.json "$work/installed.json"; then
    cp tests/web/package.json tests/web/package-lock.json "$work/"
    npm ci --prefix "$work" --no-audit --no-fund
    cp tests/web/package-lock.json "$work/installed.json"
fi

passed=0 failed=0
# A test that was skipped, cancelled or left for later has not passed.
failures='fail|cancelled|skipped|todo'
note() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }
types() {
    local project code
    for project in page worker; do
        code=0
        "$work/node_modules/.bin/tsc" --project "tests/web/tsconfig.$project.json" || code=$?
        echo "types of the $project: exit code $code"
        note "$code"
    done
}
node_tests() { # ARGS…: runs node's tests and adds up what they say
    local log=$work/tests.tap
    node --test --test-concurrency=1 --test-reporter=spec --test-reporter-destination=stdout \
        --test-reporter=tap --test-reporter-destination="$log" "$@" || true
    passed=$((passed + $(sed -n 's/^# pass //p' "$log")))
    failed=$((failed + $(awk "/^# ($failures) / { sum += \$3 } END { print sum + 0 }" "$log")))
}
needs_binary() {
    if [ -z "${PARCELRY_BIN:-}" ]; then
        cargo build --release --locked
        export PARCELRY_BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/parcelry
    fi
}

case $only in
    "") types; needs_binary; node_tests tests/web/unit/*.test.mjs; node_tests tests/web/*.test.mjs ;;
    types) types ;;
    unit) node_tests tests/web/unit/*.test.mjs ;;
    *)
        needs_binary
        if [ -f "tests/web/$only.test.mjs" ]; then
            node_tests "tests/web/$only.test.mjs"
        else
            failures='fail|cancelled' # the others count as skipped
            node_tests --test-name-pattern "$only" tests/web/*.test.mjs
        fi ;;
esac
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
