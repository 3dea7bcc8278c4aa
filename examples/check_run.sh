#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks examples/run.sh when it runs twice at once, cannot write its checkout, is killed with -9, and when Docker
# fails:  check_run.sh QUICKSTART CRON
# The arguments are the built programs. Scripts replace cmake and docker, to show how run.sh uses them.
set -euo pipefail

source_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
scratch=$(mktemp -d /tmp/redlock.XXXXXX)
# The files /proc/PID/cmdline of the processes that this script started and that still run: all of them name the
# directory. (If one of them ends meanwhile, grep fails, but still lists the others.)
running() { grep -lsF -- "$scratch/tmp/" /proc/[0-9]*/cmdline || true; }
clean_up() {
    local file
    for file in $(running); do
        kill -KILL "$(basename -- "$(dirname -- "$file")")" 2>/dev/null || true
    done
    rm -rf -- "$scratch"
}
trap clean_up EXIT

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    cat -- "$scratch"/*.log >&2
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

mkdir -p -- "$scratch"/{checkout/examples,bin,tmp}
cp -- "$source_dir/examples/run.sh" "$scratch/checkout/examples"
cp -- "$1" "$scratch/bin/built-quickstart"
cp -- "$2" "$scratch/bin/built-cron"

# Takes some time, as a build does, and fails if another one is running in the same directory.
cat >"$scratch/bin/cmake" <<'EOF'
#!/usr/bin/env bash
set -e
if [[ $1 == -S ]]; then
    mkdir -- "$4/configuring" || exit 1
    sleep 0.5
    rmdir -- "$4/configuring"
    exit
fi
mkdir -p -- "$2/examples"
cp -- "$(dirname -- "$0")/built-${4#example_}" "$2/examples/new"
mv -- "$2/examples/new" "$2/examples/${4#example_}"
EOF
# A Docker engine that answers, but cannot start anything.
printf '#!/bin/sh\ncase " $* " in *" up "*) echo no ports; exit 1 ;; esac\n' >"$scratch/bin/docker"
chmod 755 "$scratch" "$scratch"/bin/*
chmod 1777 "$scratch/tmp"
export PATH=$scratch/bin:$PATH TMPDIR=$scratch/tmp
run=$scratch/checkout/examples/run.sh

# Twice at once, in a checkout without a build.
"$run" quickstart --no-setup --local >"$scratch/first.log" 2>&1 &
first=$!
"$run" quickstart --no-setup --local >"$scratch/second.log" 2>&1 || fail 'the second of two at once'
wait "$first" || fail 'the first of two at once'

"$run" quickstart --no-setup >"$scratch/docker.log" 2>&1 || fail 'where docker compose fails'

# In a checkout of another user. Root can write everything, so the script then runs as another user.
as_user=()
if [[ $EUID -eq 0 ]]; then
    as_user=(setpriv "--reuid=nobody" "--regid=$(id -g nobody)" --clear-groups)
fi
rm -rf -- "$scratch/checkout/build"
chmod -R a-w "$scratch/checkout"
"${as_user[@]}" "$run" quickstart --no-setup --local >"$scratch/unwritable.log" 2>&1 || fail 'in a checkout that cannot be written'
chmod -R u+w "$scratch/checkout"
[[ -z $(ls -A "$scratch/tmp") ]] || fail "left behind: $(ls -A "$scratch/tmp")"

is_tidy() { [[ -z $(running) && -z $(ls -A "$scratch/tmp") ]]; }

"$run" cron --no-setup --local >"$scratch/killed.log" 2>&1 &
killed=$!
await 'cron does not run' grep -q 'has the lock' "$scratch/killed.log"
kill -KILL "$killed"
wait "$killed" 2>/dev/null || true
await 'kill -9 leaves something behind' is_tidy
