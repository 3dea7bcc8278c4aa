#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and runs the tests, on a Debian or Ubuntu machine; installs first what is missing for that.
#
#   tests/run.sh                everything, as CI runs it: formatting, static analysis, clang++, the
#                               sanitizers, and last the whole suite with g++
#   tests/run.sh --quick        the inner loop: unit, sim, integration, memory and fuzz tests with g++
#   tests/run.sh --long         everything, and the tests that take long
#   tests/run.sh --fuzz SECONDS each fuzz target for that long, and nothing else
#   tests/run.sh --chaos SECONDS  faults on real nodes and clients for that long, and nothing else
#   tests/run.sh --leg NAME     that part alone (may be repeated); --help names them
#   tests/run.sh --no-setup     install nothing
#
# The last lines are ctest's summary of the main part. Any part that failed makes the exit status 1.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
suites='^(unit|sim|integration|memory|fuzz)$'
fuzz_seconds=60
chaos_seconds=60
jobs=$(nproc)

# --- the parts -------------------------------------------------------------------------------------------

# In the order in which they run. leg_<name> does it, with _ for -, and fails if anything is wrong.
legs_in_order=(format shell tidy clang asan-ubsan tsan tsan-clang fuzz long main quick chaos)
declare -A about=(
    [format]='the format of the C++ files'
    [shell]='the shell scripts, by shellcheck'
    [tidy]='clang-tidy on all headers, the examples and the benchmarks'
    [clang]='clang++, optimised'
    [asan-ubsan]='AddressSanitizer and UndefinedBehaviorSanitizer'
    [tsan]='ThreadSanitizer'
    [tsan-clang]='ThreadSanitizer of clang++, which sees more'
    [fuzz]='libFuzzer, each target for a minute'
    [long]='the tests that take long, optimised; the stress under ThreadSanitizer too'
    [main]='g++: the whole suite'
    [quick]='g++: unit, sim, integration, memory and fuzz tests'
    [chaos]='faults on real nodes and clients; REDLOCK_CHAOS_SEED repeats those of an earlier run'
)

leg_format() {
    # Another version of clang-format has other opinions.
    local wanted=14 found
    found=$(clang-format --version | sed 's/.*version \([0-9]*\).*/\1/')
    if [[ $found != "$wanted" ]]; then
        echo "skipped: this is clang-format $found; the format is that of $wanted"
        return 0
    fi
    find include tests bench examples \( -name '*.hpp' -o -name '*.cpp' \) -print0 |
        xargs -0 -r clang-format --dry-run -Werror
}

leg_shell() {
    if ! command -v shellcheck >/dev/null; then
        echo 'skipped: there is no shellcheck here'
        return 0
    fi
    { find bench examples tests tools -name '*.sh' -print0 && printf '.ci/run\0'; } |
        xargs -0 shellcheck
}

leg_tidy() {
    # Like the format: each version knows other checks.
    local wanted=14 found
    found=$(clang-tidy --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
    if [[ $found != "$wanted" ]]; then
        echo "skipped: this is clang-tidy $found; the checks are those of $wanted"
        return 0
    fi
    cmake --preset dev-clang >/dev/null
    { printf '%s\0' build/dev-clang/tests/header/all_headers.cpp &&
        find examples bench -name '*.cpp' -print0; } |
        xargs -0 -P "$jobs" -n 1 clang-tidy --quiet -p build/dev-clang
}

leg_clang() {
    build release-clang all
    run_tests release-clang -L '^(unit|sim|memory|fuzz|header)$'
}

leg_asan_ubsan() {
    build asan-ubsan redlock_suites
    run_tests asan-ubsan -L "$suites"
}

leg_tsan() {
    build tsan redlock_suites
    # The simulator has one thread: nothing to find there, and it would take minutes.
    without_address_randomness ctest --preset tsan -j "$jobs" -L '^(unit|integration)$'
}

leg_tsan_clang() {
    if ! has_clang_tsan; then
        echo 'skipped: clang++ has no ThreadSanitizer runtime here'
        return 0
    fi
    build tsan-clang redlock_suites
    without_address_randomness ctest --preset tsan-clang -j "$jobs" -L '^(unit|integration)$'
}

# As many at a time as there are processors.
leg_fuzz() {
    if ! has_clang_fuzzer; then
        echo 'skipped: clang++ has no libFuzzer here'
        return 0
    fi
    build fuzz redlock_fuzz
    local program status=0 running=0
    for program in build/fuzz/tests/fuzz/redlock_fuzz_*; do
        if [[ $running -ge $jobs ]]; then
            wait -n || status=1
            running=$((running - 1))
        fi
        fuzz "$program" "${program##*redlock_fuzz_}" &
        running=$((running + 1))
    done
    while [[ $running -gt 0 ]]; do
        wait -n || status=1
        running=$((running - 1))
    done
    return "$status"
}

# What libFuzzer adds to the corpus of a target is kept in build/, for the next run. It ends at the first input for which
# a property does not hold, and keeps that beside it.
fuzz() {
    local program=$1 target=$2 status=0
    mkdir -p "build/fuzz/corpus/$target"
    "$program" -max_total_time="$fuzz_seconds" -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/found-$target-" \
        "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target" >"build/fuzz/$target.log" 2>&1 || status=1
    if [[ $status -ne 0 ]]; then
        grep -v '^#[0-9]' -- "build/fuzz/$target.log" | tail -n 60
    fi
    printf '%-10s %s\n' "$target" "$(grep -E '(INITED|DONE)' "build/fuzz/$target.log" | tail -n 1)"
    return "$status"
}

leg_long() {
    build release-clang all
    ctest --test-dir build/release-clang -j "$jobs" -L '^long$' --output-on-failure
    build tsan redlock_suites
    without_address_randomness ctest --test-dir build/tsan -R 'integration[.]StressLong' --output-on-failure
}

leg_main() {
    build release redlock_bench  # as bench/run.sh does: at -O3 g++ warns of more
    build dev all
    run_tests dev
}

leg_quick() {
    build dev redlock_suites
    run_tests dev -L "$suites"
}

# A whole run has it in the part main.
leg_chaos() {
    build dev redlock_chaos
    build/dev/tests/chaos/redlock_chaos --seconds "$chaos_seconds"
}

# build <preset> <target>
build() {
    cmake --preset "$1" >"build/configure-$1.log" 2>&1 || {
        cat -- "build/configure-$1.log"
        return 1
    }
    cmake --build --preset "$1" --target "$2" -- -k 0
}

# run_tests <preset> [ctest argument...]
run_tests() {
    local preset=$1
    shift
    ctest --preset "$preset" -j "$jobs" "$@"
}

# Of the part that has just run, as ctest has noted them.
names_of_failed_tests() {
    find build -path '*/Testing/Temporary/LastTestsFailed.log' -newer build/leg-began \
        -exec sed 's/^[0-9]*://' {} +
}

# Its package is optional: not every distribution has it apart from clang itself.
has_clang_tsan() {
    echo 'int main() {}' | clang++ -fsanitize=thread -x c++ - -o /dev/null 2>/dev/null
}

# It comes with ThreadSanitizer's runtime.
has_clang_fuzzer() {
    echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
        clang++ -fsanitize=fuzzer -x c++ - -o /dev/null 2>/dev/null
}

# ThreadSanitizer's older runtimes cannot live with much of it.
without_address_randomness() {
    local wrapper=()
    if setarch -R true 2>/dev/null; then wrapper=(setarch -R); fi
    "${wrapper[@]}" "$@"
}

# --- what is wanted -------------------------------------------------------------------------------------

usage() {
    sed -n '3,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    local leg
    printf '\nThe parts:\n'
    for leg in "${legs_in_order[@]}"; do
        printf '  %-12s %s\n' "$leg" "${about[$leg]}"
    done
}

legs=()
setup=yes
quick=no
long=no
while [[ $# -gt 0 ]]; do
    case $1 in
    --quick) quick=yes ;;
    --long) long=yes ;;
    --no-setup) setup=no ;;
    --fuzz)
        if [[ ! ${2:-} =~ ^[1-9][0-9]*$ ]]; then
            printf -- '--fuzz wants a number of seconds\n' >&2
            exit 2
        fi
        fuzz_seconds=$2
        legs+=(fuzz)
        shift
        ;;
    --chaos)
        if [[ ! ${2:-} =~ ^[1-9][0-9]{0,5}$ ]]; then
            printf -- '--chaos wants a number of seconds\n' >&2
            exit 2
        fi
        chaos_seconds=$2
        legs+=(chaos)
        shift
        ;;
    --leg)
        if [[ -z ${2:-} || -z ${about[$2]:-} ]]; then
            printf 'there is no part "%s"\n' "${2:-}" >&2
            exit 2
        fi
        legs+=("$2")
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    shift
done

groups=(build run test model bench lint)
if [[ ${#legs[@]} -eq 0 ]]; then
    if [[ $quick == yes ]]; then
        legs=(quick)
        groups=(build run test)
    else
        for leg in "${legs_in_order[@]}"; do
            [[ $leg == quick || $leg == chaos || ($leg == long && $long == no) ]] || legs+=("$leg")
        done
    fi
fi

# --- doing it -------------------------------------------------------------------------------------------

if [[ $setup == yes ]]; then
    tools/setup.sh "${groups[@]}"
fi

failed=()
failed_tests=()
mkdir -p build
for index in "${!legs[@]}"; do
    leg=${legs[$index]}
    printf '\n=== %d of %d, after %d s: %s (%s)\n' \
        "$((index + 1))" "${#legs[@]}" "$SECONDS" "$leg" "${about[$leg]}"
    began=$SECONDS
    touch build/leg-began
    # In a shell of its own, so that -e holds inside: it would not within a condition.
    set +e
    (
        set -e
        "leg_${leg//-/_}"
    )
    status=$?
    set -e
    if [[ $status -ne 0 ]]; then
        failed+=("$leg")
        mapfile -t -O "${#failed_tests[@]}" failed_tests < <(names_of_failed_tests)
        printf -- '--- %s FAILED after %d s\n' "$leg" "$((SECONDS - began))"
    elif [[ $((index + 1)) -lt ${#legs[@]} ]]; then
        printf -- '--- %s passed in %d s\n' "$leg" "$((SECONDS - began))"
    fi
done

if [[ ${#failed[@]} -gt 0 ]]; then
    printf '\nFAILED: %s\n' "${failed[*]}"
    [[ ${#failed_tests[@]} -eq 0 ]] || printf '  %s\n' "${failed_tests[@]}"
    exit 1
fi
