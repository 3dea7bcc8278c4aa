#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proves section "fencing tokens" twice: explores every state of small models (check.cpp) and proves the
# general case by induction (prove.py). One core; minutes, not hours.
#
# usage: run.sh [--long] [--markdown]
#   --long      larger models as well
#   --markdown  the results as a Markdown page: tests/model/run.sh --long --markdown > tests/model/RESULTS.md
#
# Exit status: 0 all as expected; 1 a surprise; 2 wrong use or a fault in the model checker;
# 77 something to run it with is missing (a compiler, or Python with z3) and the rest was as expected; where
# CI is set, this too is 1: what continuous integration promises must have run.
# CXX and PYTHON choose the tools.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
long=()
markdown=()
for argument in "$@"; do
    case $argument in
        --long) long=(--long) ;;
        --markdown) markdown=(--markdown) ;;
        -h | --help) sed -n '3,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) echo "run.sh: unknown argument: $argument (try --help)" >&2; exit 2 ;;
    esac
done

missing=0
worst=0

note_status() {
    local status=$1
    if [[ $status == 77 ]]; then
        missing=1
    elif ((status > worst)); then
        worst=$status
    fi
}

heading() {
    if ((${#markdown[@]})); then
        printf '\n## %s\n\n' "$1"
    else
        printf '\n== %s\n\n' "$1"
    fi
}

find_compiler() {
    local candidate
    for candidate in ${CXX:-c++ g++ clang++}; do
        if command -v "$candidate" >/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

# The first python3 on the path need not be the one that distribution packages go to.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 /usr/bin/python3}; do
        if "$candidate" -c 'import z3' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

explore() {
    local compiler build status=0
    compiler=$(find_compiler)
    if [[ -z $compiler ]]; then
        echo "run.sh: exploration skipped: no C++ compiler found" >&2
        return 77
    fi
    build=$(mktemp -d)
    # shellcheck disable=SC2064  # expanded now: the variable is gone when the script ends
    trap "rm -rf -- '$build'" EXIT
    "$compiler" -std=c++20 -O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow \
        "$here/check.cpp" -o "$build/check" || return 2
    # What continuous integration has is a part of what is promised.
    ((${#long[@]})) || ulimit -v $((4 * 1024 * 1024))
    "$build/check" "${long[@]}" "${markdown[@]}" || status=$?
    return "$status"
}

prove() {
    local python status=0
    python=$(find_python)
    if [[ -z $python ]]; then
        echo "run.sh: proof skipped: no Python with the z3 module found (Debian: python3-z3)" >&2
        return 77
    fi
    "$python" "$here/prove.py" "${long[@]}" "${markdown[@]}" || status=$?
    return "$status"
}

if ((${#markdown[@]})); then
    echo '# Results'
    echo
    echo "Printed by \`tests/model/run.sh ${long[*]:+${long[*]} }--markdown\`; not edited. What the words mean: README.md."
fi

heading 'Induction: any number of clients, any numbers'
status=0
prove || status=$?
note_status "$status"

heading 'Exploration: every state of N nodes and K acquisitions'
status=0
(explore) || status=$?
note_status "$status"

echo
if ((worst)); then
    echo "run.sh: NOT AS EXPECTED" >&2
    exit "$worst"
fi
if ((missing)); then
    echo "run.sh: as expected as far as it ran; parts were skipped, see above" >&2
    [[ -z ${CI:-} ]] || exit 1
    exit 77
fi
echo "run.sh: all as expected" >&2
