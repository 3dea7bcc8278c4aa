#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The checks of redlock_chaos see what they look for, and nothing is left behind when it is interrupted.
#
#   check.sh PROGRAM
set -euo pipefail

program=$1
directory=$(mktemp -d)
child=
trap '[[ -z $child ]] || kill "$child" 2>/dev/null || true; rm -rf -- "$directory"' EXIT
export TMPDIR=$directory

fail() {
    printf 'FAILED: %s\n' "$1" >&2
    cat -- "$directory/output" >&2
    exit 1
}

# The servers' command lines name their directories.
expect_nothing_left() {
    local left
    left=$(find "$directory" -mindepth 1 ! -path "$directory/output")
    [[ -z $left ]] || fail "$1 has left files: $left"
    left=$(grep -lsF -- "$directory" /proc/[0-9]*/cmdline || true)
    [[ -z $left ]] || fail "$1 has left processes: $left"
}

# expect_report <what the report has to say> <argument...>
expect_report() {
    local expected=$1 status=0
    shift
    printf 'redlock_chaos %s\n' "$*"
    "$program" --seconds 3 "$@" >"$directory/output" 2>&1 || status=$?
    [[ $status -eq 1 ]] || fail "$* ended with status $status, not 1"
    grep -q -- "^VIOLATION: .*$expected" "$directory/output" || fail "$* did not report '$expected'"
    expect_nothing_left "$*"
}

expect_report 'two holders at once' --break validity
expect_report 'fencing tokens out of order' --break quorum
expect_report 'a fence refused the token of a valid holder' --break quorum
expect_report 'lost updates' --break quorum --break fence
expect_report 'has ended by itself, by signal 6' --break crash

printf 'redlock_chaos, interrupted\n'
"$program" --seconds 60 >"$directory/output" 2>&1 &
child=$!
deadline=$((SECONDS + 30))
until grep -q 'acquisitions' "$directory/output"; do
    [[ $SECONDS -lt $deadline ]] || fail 'it shows no progress'
    sleep 0.1
done
kill -TERM "$child"
status=0
wait "$child" || status=$?
child=
[[ $status -eq 130 ]] || fail "the interrupted run ended with status $status, not 130"
expect_nothing_left 'the interrupted run'
