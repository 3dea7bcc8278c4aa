#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures the cost of compiling a file that uses the library: user time and peak memory of the compiler, as
# medians and as ratios to those of a baseline, which includes only hiredis and standard headers.
#
#   bench/compile_cost.sh    g++ and clang++ where installed, -O0 and -O2, header-only and compiled, five runs
#   --runs N                 this number of runs
#   --compiler NAME          this compiler (may be repeated)
#   --before DIR             also with the headers of the older checkout DIR, in turn with ours; prints our cost
#                            divided by theirs. A mode that they lack is compared with their header-only cost
#   --at-most RATIO          with --before: fails if our header-only user time is more than RATIO times theirs
#   --markdown               prints the table as markdown
#
# "Compiled" is a user of the compiled library (REDLOCK_COMPILED): it may read no header of hiredis and cost at
# most 1.5 times the baseline. $CPPFLAGS goes to all compilers, as for a hiredis in a place of its own.
#
# The exit status is 2 if something needed is missing, and 1 if a program does not compile, a header of hiredis
# was read, or a limit was exceeded; a message says which.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
programs=(include_only one_try_lock many_uses)
levels=(-O0 -O2)
runs=5
compilers=()
before=
table_options=()
read -r -a flags <<<"${CPPFLAGS-}"

refuse() {
    printf 'bench/compile_cost.sh: %s\n' "$*" >&2
    exit 2
}

fail() {
    printf 'bench/compile_cost.sh: %s\n' "$*" >&2
    exit 1
}

while [[ $# -gt 0 ]]; do
    case $1 in
    --runs | --compiler | --before | --at-most) [[ $# -gt 1 ]] || refuse "$1 needs a value (see --help)" ;;&
    --runs) runs=$2 && shift ;;
    --compiler) compilers+=("$2") && shift ;;
    --before) before=$2 && shift ;;
    --at-most) table_options+=("$1" "$2") && shift ;;
    --markdown) table_options+=("$1") ;;
    -h | --help) sed -n '3,/^set/{/^set/d;s/^# \{0,1\}//;p}' bench/compile_cost.sh && exit 0 ;;
    *) refuse "unknown option $1 (see --help)" ;;
    esac
    shift
done

# --- the measurements -----------------------------------------------------------------------------------

# modes_of <include directory>: the modes in which a program can use its headers.
modes_of() {
    echo header-only
    [[ ! -e $1/redlock/src.hpp ]] || echo compiled
}

# measure <name of the headers> <include directory> <compiler> <level> <mode> <program>: adds a line to results.
measure() {
    local defines=()
    [[ $5 != compiled ]] || defines=(-DREDLOCK_COMPILED)
    # The child's own time and memory, the largest of all processes that the compiler starts.
    python3 -c '
import os, sys
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[6], sys.argv[6:], os.environ), 0)
if status: sys.exit(1)
print(*sys.argv[1:6], usage.ru_utime, usage.ru_maxrss, sep="\t")' \
        "$1" "$3" "$4" "$5" "$6" \
        "$3" -std=c++20 "$4" ${flags[@]+"${flags[@]}"} ${defines[@]+"${defines[@]}"} "-I$2" \
        -c "bench/compile_cost/$6.cpp" -o "$scratch/out.o" >>"$scratch/results.tsv" ||
        fail "$6.cpp does not compile with $3 $4, $5, headers in $2"
}

measure_all_once() {
    local compiler level program mode
    for compiler in "${compilers[@]}"; do
        for level in "${levels[@]}"; do
            printf 'run %d of %d: %s %s\n' "$run" "$runs" "$compiler" "$level" >&2
            measure now include "$compiler" "$level" - baseline
            for program in "${programs[@]}"; do
                for mode in "${modes_before[@]}"; do
                    measure before "$before" "$compiler" "$level" "$mode" "$program"
                done
                for mode in "${modes[@]}"; do
                    measure now include "$compiler" "$level" "$mode" "$program"
                done
            done
        done
    done
}

# Fails if a user of the compiled library reads a header of hiredis itself; their names end in .h.
check_no_hiredis() {
    local compiler program seen
    for compiler in "${compilers[@]}"; do
        for program in "${programs[@]}"; do
            seen=$("$compiler" -std=c++20 ${flags[@]+"${flags[@]}"} -DREDLOCK_COMPILED -Iinclude -M \
                "bench/compile_cost/$program.cpp") ||
                fail "$compiler does not name the headers of $program.cpp"
            seen=$(tr ' ' '\n' <<<"$seen" | grep -m 1 'hiredis/[^/]*\.h$') || continue
            fail "compiled, $program.cpp reads $seen with $compiler"
        done
    done
}

# --- main -----------------------------------------------------------------------------------------------

[[ $runs =~ ^[1-9][0-9]*$ ]] || refuse "--runs is '$runs', but must be a number from 1"
command -v python3 >/dev/null || refuse 'python3 is not installed'
if [[ ${#compilers[@]} -eq 0 ]]; then
    for compiler in g++ clang++; do
        if command -v "$compiler" >/dev/null; then compilers+=("$compiler"); fi
    done
    [[ ${#compilers[@]} -gt 0 ]] || refuse 'neither g++ nor clang++ is installed'
fi
for compiler in "${compilers[@]}"; do
    command -v "$compiler" >/dev/null || refuse "$compiler is not installed"
done

mapfile -t modes < <(modes_of include)
modes_before=()
if [[ -n $before ]]; then
    [[ ! -e $before/include/redlock/redlock.hpp ]] || before=$before/include
    [[ -e $before/redlock/redlock.hpp ]] || refuse "$before has no headers of this library"
    mapfile -t modes_before < <(modes_of "$before")
fi

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
# A cached result would cost nothing.
export CCACHE_DISABLE=1

if [[ " ${modes[*]} " == *' compiled '* ]]; then
    check_no_hiredis
else
    echo 'compiled: skipped, there is no include/redlock/src.hpp' >&2
fi
for ((run = 1; run <= runs; ++run)); do
    measure_all_once
done
python3 -B bench/compile_cost/table.py ${table_options[@]+"${table_options[@]}"} "$scratch/results.tsv"
