#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks how examples/cron handles its jobs and signals:  check_cron.sh PROGRAM
# Starts a redis-server of its own; $REDIS_SERVER chooses another program.
set -euo pipefail

program=$1
directory=$(mktemp -d /tmp/redlock.XXXXXX)
pids=()
clean_up() {
    exec 2>/dev/null # the shell would report how each of them ended
    [[ ${#pids[@]} -eq 0 ]] || kill -KILL "${pids[@]}" || true
    wait
    rm -rf -- "$directory"
}
trap clean_up EXIT

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    cat -- "$directory"/*.log >&2
    exit 1
}

# await <failure> <command>...: waits until the command succeeds, or fails with that text.
await() {
    local what=$1 tries
    shift
    for ((tries = 0; tries < 400; ++tries)); do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.05
    done
    fail "$what"
}
has_failed_twice() { [[ $(grep -c 'the job failed: ended with status 3' "$directory/failing.log") -ge 2 ]]; }
# Whether SIGINT is no longer caught.
is_by_default() { ((16#$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$cron/status") & 1 << 1)) && return 1 || return 0; }
has_ended() { ! kill -0 "$1" 2>/dev/null; }

# start <name> <job>: sets `cron`; its output is in <name>.log.
start() {
    "$program" "unix://$directory/node.sock" "$1" "$2" >"$directory/$1.log" 2>&1 &
    cron=$!
    pids+=("$cron")
}

server=${REDIS_SERVER:-$(command -v redis-server || command -v valkey-server)}
"$server" --port 0 --unixsocket "$directory/node.sock" --save '' --dir "$directory" >"$directory/node.log" 2>&1 &
pids+=("$!")
await 'the server did not start' test -S "$directory/node.sock"

# A job that fails is reported, and run again.
start failing 'exit 3'
await 'a job that fails is not run again' \
    has_failed_twice
kill -TERM "$cron"
await 'SIGTERM did not end it' has_ended "$cron"
wait "$cron" || fail 'it did not end well'

# A job has no signal blocked or ignored, and knows its fencing token.
start inheriting "grep -E '^Sig(Blk|Ign)' /proc/self/status >'$directory/masks'; echo \$FENCING_TOKEN >'$directory/token'"
await 'no job was run' grep -q '^[1-9]' "$directory/token"
kill -TERM "$cron"
await 'SIGTERM did not end it' has_ended "$cron"
wait "$cron" || fail 'it did not end well'
# The numbers of SIGINT and SIGTERM are 2 and 15.
while read -r name mask; do
    (((16#$mask & (1 << 1 | 1 << 14)) == 0)) || fail "a job inherits $name $mask"
done <"$directory/masks"

# A second signal does not wait for the job, and ends the job too.
start hanging "echo \$\$ >'$directory/running'; exec sleep 1000"
await 'no job was run' grep -q . "$directory/running"
read -r job <"$directory/running"
kill -INT "$cron"
await 'the first signal was not taken' is_by_default
has_ended "$cron" && fail 'the first signal did not wait for the job'
kill -INT "$cron"
await 'a second signal did not end it' has_ended "$cron"
await 'the job outlives it' has_ended "$job"
