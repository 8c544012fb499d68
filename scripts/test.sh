#!/bin/bash
# Every test of ds4, in stages; `scripts/test.sh NAME...` runs some of them. Each stage leaves build/test-logs/NAME.log.
# At the end: one line per stage with the closing line of its runner. Exit 0 only if every stage passed.
#
#   FUZZ_SECONDS   how long each fuzzer runs (40)
#   SOAK_MINUTES   how long the stage `soak` runs (30); it is not part of the default list
set -uo pipefail
cd "$(dirname "$0")/.."

all_stages=(style release faults e2e asan tsan fuzz aarch64 clients)
jobs=$(nproc)
logs=build/test-logs
python=build/test-env/python/bin/python3
mkdir -p "$logs"

# The line that the summary shows for the running stage.
closing() { echo "$*" | tee "$logs/$stage.closing"; }
fail() { echo "$stage: $*" >&2; closing "FAILED: $*"; return 1; }

configure_and_build() { # PRESET FOLDER EXTRA...
    local preset=$1 folder=$2
    shift 2
    # A preset is applied again when the options changed or the folder is new; ninja notices everything else.
    cmake --preset "$preset" "$@" >"$logs/$stage.configure.log" 2>&1 || { cat "$logs/$stage.configure.log"; return 1; }
    # Compiler messages only; the progress lines of ninja say nothing.
    echo "building $folder: $(ninja -C "$folder" -n 2>/dev/null | tail -1 | grep -oE '/[0-9]+' | tr -d / || echo 0) steps"
    if ! cmake --build "$folder" -- -k 0 >"$logs/$stage.build.log" 2>&1; then
        grep -E -A 20 'FAILED:|error:' "$logs/$stage.build.log" | head -100
        fail "the $preset build failed"
    fi
}

run_ctest() { # FOLDER EXTRA...
    local folder=$1 status=0
    shift
    # A day: the watchdog of each test ends what hangs, by processor time, which a busy machine does not change.
    ctest --test-dir "$folder" -j "$jobs" --timeout 86400 --output-on-failure --no-tests=error "$@" \
        2>&1 | tee "$logs/$stage.ctest.log" || status=1
    closing "$(grep -E 'tests passed|No tests were found' "$logs/$stage.ctest.log" | tail -1)"
    return $status
}

stage_style() { # layout, include arrows, sizes
    local unformatted=0 n=0 file
    while read -r file; do
        n=$((n + 1))
        clang-format --dry-run -Werror "$file" 2>/dev/null || { echo "not formatted: $file"; unformatted=$((unformatted + 1)); }
    done < <(git ls-files '*.c' '*.h' '*.cu' '*.cuh')
    local structure status=0
    structure=$(python3 tests/structure/check_structure.py) || status=1
    echo "$structure"
    python3 tests/mutants/run.py --list >/dev/null || status=1 # every mutation still fits its source
    [ $unformatted -eq 0 ] || status=1
    closing "$n files, $unformatted not formatted; $(echo "$structure" | tail -1)"
    return $status
}

stage_release() { # what users run, warnings as errors
    configure_and_build release build -DDS4_WERROR=ON "-DDS4_TEST_PYTHON=$PWD/$python" && run_ctest build
}

stage_check() { # the inner loop: what changed is built, and the tests that take seconds run; not in the default list
    configure_and_build release build -DDS4_WERROR=ON "-DDS4_TEST_PYTHON=$PWD/$python" && run_ctest build -LE slow
}

stage_faults() { # with the fault points of the store and the engine
    configure_and_build faults build-faults "-DDS4_TEST_PYTHON=$PWD/$python" && run_ctest build-faults
}

run_module() { # PYTHON LOGS NAME: one file of tests/e2e, printed when it has ended
    local log=$2/e2e.$3.log status=0
    "$1" tests/support/watchdog.py --cpu 7200 "$1" -m unittest discover -s tests/e2e -p "$3.py" -v >"$log" 2>&1 || status=1
    cat "$log"
    return $status
}

stage_e2e() { # the founding case and its relatives, against real processes; a file per core, the long ones first
    configure_and_build faults build-faults "-DDS4_TEST_PYTHON=$PWD/$python" || return 1
    local status=0 names
    names=$(basename -s .py tests/e2e/test_*_matrix.py; basename -s .py tests/e2e/test_*.py | grep -v _matrix)
    rm -f "$logs"/e2e.test_*.log
    export -f run_module
    echo "$names" | DS4_BUILD=$PWD/build-faults xargs -P "$jobs" -I{} bash -c "run_module $python $logs {}" || status=1
    closing "$(cat "$logs"/e2e.test_*.log |
        awk '/^Ran / { n += $2; files++ } /^OK/ { ok++ } END { printf "%d tests; %d of %d files OK", n, ok, files }')"
    return $status
}

stage_asan() { # addresses and undefined behaviour
    configure_and_build asan build-asan "-DDS4_TEST_PYTHON=$PWD/$python" || return 1
    ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1 \
        UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 run_ctest build-asan
}

stage_tsan() { # data races and lock order; the numbers and the mock device have no threads that other tests lack
    configure_and_build tsan build-tsan "-DDS4_TEST_PYTHON=$PWD/$python" || return 1
    TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 run_ctest build-tsan -E '^cli/exactness$|-device$'
}

run_fuzzer() { # BINARY SECONDS
    local binary=$1 seconds=$2 name noun work
    name=$(basename "$binary")
    noun=${name#fuzz-}
    noun=${noun//-/_}
    work=build-fuzz/run/$noun
    mkdir -p "$work/corpus" "$work/artifacts"
    local seeds=(tests/fuzz/corpus/"$noun")
    [ -d "${seeds[0]}" ] || seeds=()
    if "$binary" -max_total_time="$seconds" -timeout=300 -rss_limit_mb=2048 -print_final_stats=1 -close_fd_mask=1 \
        -artifact_prefix="$work/artifacts/" "$work/corpus" "${seeds[@]}" >"$work/log" 2>&1; then
        echo "$name: $(grep -oE 'number_of_executed_units: *[0-9]+' "$work/log" | grep -oE '[0-9]+$') runs, nothing found"
    else
        tail -60 "$work/log"
        echo "$name: FAILED, see $work"
        return 1
    fi
}

stage_fuzz() { # each parser of foreign bytes, two at a time
    configure_and_build fuzz build-fuzz || return 1
    local seconds=${FUZZ_SECONDS:-40} status=0 fuzzers
    fuzzers=$(ls build-fuzz/fuzz/fuzz-* 2>/dev/null | grep -v '\.') || { fail "there are no fuzzers"; return 1; }
    export -f run_fuzzer
    echo "$fuzzers" | xargs -P 2 -I{} bash -c "run_fuzzer {} $seconds" | tee "$logs/fuzz.runs.log" || status=1
    grep -q FAILED "$logs/fuzz.runs.log" && status=1
    closing "$(grep -c 'nothing found' "$logs/fuzz.runs.log") of $(echo "$fuzzers" | wc -l) fuzzers ran $seconds s and found nothing"
    return $status
}

stage_aarch64() { # the other processor: compiles everywhere, runs where no foreign library is needed
    scripts/test-aarch64.sh 2>&1 | tee "$logs/aarch64.run.log"
    local status=${PIPESTATUS[0]}
    closing "$(tail -1 "$logs/aarch64.run.log")"
    return "$status"
}

stage_clients() { # the SDKs that people use, against the release build
    configure_and_build release build -DDS4_WERROR=ON "-DDS4_TEST_PYTHON=$PWD/$python" || return 1
    local status=0
    [ -x tests/clients/run.sh ] || { fail "tests/clients/run.sh is not there"; return 1; }
    DS4_BUILD=$PWD/build DS4_TEST_ENV=$PWD/build/test-env tests/clients/run.sh 2>&1 |
        tee "$logs/clients.run.log" || status=1
    closing "$(tail -1 "$logs/clients.run.log")"
    return $status
}

stage_soak() { # long: not in the default list
    configure_and_build release build -DDS4_WERROR=ON "-DDS4_TEST_PYTHON=$PWD/$python" || return 1
    local status=0
    DS4_BUILD=$PWD/build python3 tests/e2e/soak.py --minutes "${SOAK_MINUTES:-30}" 2>&1 |
        tee "$logs/soak.run.log" || status=1
    closing "$(tail -1 "$logs/soak.run.log")"
    return $status
}

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=("${all_stages[@]}")
for stage in "${stages[@]}"; do
    declare -F "stage_$stage" >/dev/null || { echo "test: no stage '$stage'; there are: ${all_stages[*]} check soak" >&2; exit 2; }
done

scripts/test-deps.sh || exit 1
summary=() failed=0
for stage in "${stages[@]}"; do
    echo "=== $stage"
    rm -f "$logs/$stage.closing"
    begun=$SECONDS
    (stage_"$stage") 2>&1 | tee "$logs/$stage.log"
    if [ "${PIPESTATUS[0]}" -eq 0 ]; then word=ok; else word=FAILED failed=$((failed + 1)); fi
    summary+=("$(printf '%-8s %-6s %4d s  %s' "$stage" $word $((SECONDS - begun)) "$(cat "$logs/$stage.closing" 2>/dev/null)")")
done
echo
echo "=== summary"
printf '%s\n' "${summary[@]}"
echo "$((${#stages[@]} - failed)) stages passed, $failed failed"
[ $failed -eq 0 ]
