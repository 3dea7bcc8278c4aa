#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the benchmarks, runs them, prints medians and ratios, and leaves results.json and results.svg behind.
#
#   bench/run.sh             nine repetitions, about twenty-five minutes
#   bench/run.sh --quick     three short ones, to see that all works and no value is far off
#   --out DIR                where the results go (default: build/bench)
#   --filter REGEX           only these benchmarks
#
# The exit status is 1 if a benchmark failed or a target was missed; a message says which.
# The benchmark itself starts and ends the node servers; $REDIS_SERVER chooses another server program.
set -eu

cd "$(dirname "$0")/.."
out=build/bench
repetitions=9
min_time=0.2
filter=.
partial=

while [ $# -gt 0 ]; do
    case $1 in
        --quick) repetitions=3 min_time=0.05; export REDLOCK_BENCH_WINDOW_MS="${REDLOCK_BENCH_WINDOW_MS:-150}" \
            REDLOCK_BENCH_LEASES="${REDLOCK_BENCH_LEASES:-5000}" ;;
        --out) out=$2; shift ;;
        --filter) filter=$2 partial=--partial; shift ;;
        -h | --help) sed -n '3,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        *) echo "bench/run.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done

mkdir -p "$out"
build() {
    cmake --preset release && cmake --build --preset release --target redlock_bench
}
if ! build >"$out/build.log" 2>&1; then
    cat "$out/build.log" >&2
    echo "bench/run.sh: the build failed (are Google Benchmark and hiredis installed?)" >&2
    exit 1
fi

echo "Measuring, $repetitions repetitions in random order ..."
# Repetitions of all benchmarks are mixed, so that a slow phase of the machine affects a result and its bound alike.
build/release/bench/redlock_bench \
    --benchmark_filter="$filter" \
    --benchmark_repetitions="$repetitions" \
    --benchmark_min_time="$min_time" \
    --benchmark_enable_random_interleaving=true \
    --benchmark_out="$out/results.json" --benchmark_out_format=json >"$out/console.log" 2>&1 || {
    cat "$out/console.log" >&2
    exit 1
}

status=0
python3 bench/report.py ${partial:+"$partial"} "$out/results.json" --svg "$out/results.svg" || status=$?
echo
echo "Written: $out/results.json, $out/results.svg"
exit "$status"
