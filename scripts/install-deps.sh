#!/bin/bash
# Installs what is missing, and only that. `build`: what `make run` needs. On top of it `bench`: what `make bench` and
# `make eval-mini` need; `test`: what `make test` needs.
# Asks no network when nothing is missing. Debian 12; elsewhere it says what to install by hand.
set -euo pipefail

mode=${1:-build}
case $mode in build | bench | test) ;; *) echo "usage: $0 build|bench|test" >&2; exit 2 ;; esac

missing=()
want() { # PACKAGES CHECK...: the packages are missing when the check fails
    local packages=$1
    shift
    if ! "$@" >/dev/null 2>&1; then
        missing+=($packages)
    fi
}

command_is_there() { command -v "$1"; }
compiles() { echo 'int main(void) { return 0; }' | "${CC:-cc}" -x c - -o /dev/null; }
cmake_is_new_enough() { [ "$(printf '3.25\n%s\n' "$(cmake --version | sed -n '1s/[^0-9]*//p')" | sort -V | head -1)" = 3.25 ]; }
library() { pkg-config --exists "$1"; }
fuzzer_links() {
    local out status=0
    out=$(mktemp)
    echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n > 99; }' |
        clang -x c - -fsanitize=fuzzer,address -o "$out" || status=$?
    rm -f "$out"
    return $status
}
venv_works() { python3 -c 'import ensurepip, venv'; }
certificates_are_there() { test -s /etc/ssl/certs/ca-certificates.crt; }
cross_compiles() { echo '#include <stdio.h>' | aarch64-linux-gnu-gcc -x c - -fsyntax-only; }

want "gcc libc6-dev" compiles
want cmake cmake_is_new_enough
want ninja-build command_is_there ninja
want pkg-config command_is_there pkg-config
want libmicrohttpd-dev library libmicrohttpd
want libpcre2-dev library libpcre2-8
want libxxhash-dev library libxxhash
want libsodium-dev library libsodium
want libedit-dev library libedit

if [ "$mode" != build ]; then
    want python3 command_is_there python3
fi
if [ "$mode" = test ]; then
    want git command_is_there git
    want ca-certificates certificates_are_there
    want binutils command_is_there nm
    want libcmocka-dev library cmocka
    want "clang libclang-rt-14-dev" fuzzer_links
    want clang-format command_is_there clang-format
    want python3-venv venv_works
    # A node from elsewhere brings its own npm, and Debian's packages conflict with it.
    want nodejs command_is_there node
    want npm command_is_there npm
    want qemu-user command_is_there qemu-aarch64
    want "gcc-aarch64-linux-gnu libc6-dev-arm64-cross" cross_compiles
fi

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "ds4: these are missing (Debian's names): ${missing[*]}" >&2
    echo "     This is not a Debian system; install them with its package manager and run make again." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "ds4: these packages are missing: ${missing[*]}" >&2
        echo "     There is no sudo here; as root, run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "ds4: installing ${missing[*]}" >&2
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}")
# The package lists may be absent or old: fetch them only if the first try fails.
if ! "${install[@]}" </dev/null; then
    "${as_root[@]}" apt-get update -q </dev/null
    "${install[@]}" </dev/null
fi
