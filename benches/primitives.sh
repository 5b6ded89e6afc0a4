#!/usr/bin/env bash
# What the cryptographic parts of a transfer cost on one core of this processor, in several libraries: a table in Markdown.
#
#   benches/primitives.sh [ROUNDS]     default: 5
#
# Each round measures twice: as the processor is, and with AVX-512 hidden from aws-lc, which parcelry encrypts with. That is
# what aws-lc does on a processor with VAES but without AVX-512, though on this one: emulated, as its column says. The other
# libraries cannot be told what the processor lacks.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}

target=${PRIMITIVES_TARGET_DIR:-target/primitives}
cargo build --release --locked --quiet --manifest-path benches/primitives/Cargo.toml --target-dir "$target"
program=$target/release/parcelry-primitives
samples=$(mktemp)
trap 'rm -f "$samples"' EXIT

# aws-lc reads OPENSSL_ia32cap when it is loaded (crypto/fipsmodule/cpucap/cpu_intel.c): two numbers of 64 bits with a colon
# between them, of which ~ takes out the bits that are set. The first has EDX and ECX of CPUID 1, in the lower and upper
# half, and nothing is taken out of it. The second has EBX and ECX of CPUID 7:
#   EBX 0xdc230000   AVX-512 F (bit 16), DQ (17), IFMA (21), PF (26), ER (27), CD (28), BW (30), VL (31)
#   ECX 0x00005842   AVX-512 VBMI (bit 1), VBMI2 (6), VNNI (11), BITALG (12), VPOPCNTDQ (14)
# GFNI (ECX 8), VAES (9) and VPCLMULQDQ (10) stay.
without_avx512='~0x0:~0x5842dc230000'
has() { grep -q "^flags.*\b$1\b" /proc/cpuinfo; }

for _ in $(seq "$rounds"); do
    "$program" samples >>"$samples"
    if has avx512f; then
        OPENSSL_ia32cap=$without_avx512 "$program" samples aws-lc-rs "aws-lc-rs without AVX-512 (emulated)" >>"$samples"
    fi
done
"$program" table <"$samples"
has avx512f || { echo; echo "This processor has no AVX-512: nothing was emulated."; }
