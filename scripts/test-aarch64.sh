#!/bin/bash
# The other processor. Rooms that need no foreign library are compiled for aarch64 with NEON, linked with a small check, and
# run under qemu-user; every other C file is at least compiled as far as headers allow. Last line: what was done.
set -uo pipefail
cd "$(dirname "$0")/.."
cc=aarch64-linux-gnu-gcc
out=build/aarch64
flags=(-std=c17 -O2 -D_GNU_SOURCE -Wall -Wextra -Werror -ffp-contract=off -Isrc -Iinclude -Itests)
mkdir -p $out
n=0
for file in src/quant/*.c src/backend/cpu/*.c src/model/state.c src/model/parts.c src/model/forward.c src/model/draft.c \
            src/base/{arena,buffer,clock,cores,error,pool,tokens}.c; do
    $cc "${flags[@]}" -c "$file" -o "$out/$(echo "$file" | tr / _).o" || { echo "aarch64: $file does not compile"; exit 1; }
    n=$((n + 1))
done
$cc "${flags[@]}" -static tests/aarch64/check_kernels.c src/quant/*.c src/backend/cpu/kernels*.c -lm -o $out/check_kernels || exit 1
result=$(qemu-aarch64 $out/check_kernels) || { echo "$result"; echo "aarch64: the NEON kernels disagree with the scalar ones"; exit 1; }
echo "aarch64: $n files compiled; under qemu: $result"
