#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Demonstrates redlock on a Debian or Ubuntu machine; first installs missing packages.
#
#   examples/run.sh                     the tour: about 20 seconds, two processes, five nodes, some disasters
#   examples/run.sh quickstart          the example of the README
#   examples/run.sh cron                a periodic job that one of three instances runs
#   examples/run.sh fencing             a holder that wakes up too late, with and without a fence
#
#   --nodes URI,URI,...   use these nodes and start none; they are locked and unlocked, never killed
#   --node-timeout MS     for the tour: how long a node may take to answer (50)
#   --data-node URI       for fencing: the Redis that stores the data. By default, one that this script starts, or the
#                         first node where it starts none or uses Docker
#   --postgres CONNINFO   for fencing: a PostgreSQL that stores data too; the example creates a schema in it, and
#                         drops it. By default, one that this script starts if initdb and postgres are installed
#   --docker, --local     start the nodes with docker compose, or as processes of this machine; without
#                         either: docker compose where a Docker engine answers and the ports are free
#   --no-setup            install nothing
#
# The programs are built in build/examples/examples; each says how to run it by hand. If the checkout cannot be
# written, they are built in a temporary directory, each time anew.
# The nodes are new, leave nothing on disk, and end with the script, also on Ctrl-C and kill -9.
# $REDIS_SERVER chooses the server program, $REDIS_IMAGE the image, $POSTGRES_BIN the folder of initdb and
# postgres.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/examples
node_count=5

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "run.sh: $*"
    exit 1
}
fail_usage() {
    say "run.sh: $* (see --help)"
    exit 2
}
usage() { sed -n '3,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

# --- the options ----------------------------------------------------------------------------------------

example=
nodes=
data_node=
node_timeout=
postgres=
where=
setup=yes
while [[ $# -gt 0 ]]; do
    case $1 in
    tour | quickstart | cron | fencing)
        [[ -z $example ]] || fail_usage "one example at a time, not $example and $1"
        example=$1
        ;;
    --nodes | --data-node | --node-timeout | --postgres)
        [[ -n ${2:-} ]] || fail_usage "$1 needs a value"
        case $1 in
        --nodes) nodes=$2 ;;
        --data-node) data_node=$2 ;;
        --node-timeout) node_timeout=$2 ;;
        --postgres) postgres=$2 ;;
        esac
        shift
        ;;
    --docker | --local)
        [[ -z $where || $where == "${1#--}" ]] || fail_usage "--$where or $1: choose one"
        where=${1#--}
        ;;
    --no-setup) setup=no ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) fail_usage "there is no option or example $1" ;;
    esac
    shift
done
example=${example:-tour}

# check_uris <option> <URI,URI,...>: refuses invalid URIs at once, not only once the program is built.
check_uris() {
    local uri uris
    mapfile -t -d , uris < <(printf '%s' "$2")
    for uri in "${uris[@]}"; do
        uri=${uri#"${uri%%[! ]*}"} # without leading blanks
        # The part that may contain a password is not shown.
        [[ $uri =~ ^(redis|unix)://. ]] ||
            fail_usage "$1: '${uri/*@/***@}' is not like redis://10.0.0.1:6379 or unix:///run/redis.sock"
    done
}

check_options() {
    local name=${example/#tour/the tour}
    [[ -z $node_timeout || $example == tour ]] || fail_usage "--node-timeout is for the tour, not for $name"
    [[ -z $data_node || $example == fencing ]] || fail_usage "--data-node is for fencing, not for $name"
    [[ -z $postgres || $example == fencing ]] || fail_usage "--postgres is for fencing, not for $name"
    [[ -z $nodes || -z $where ]] || fail_usage "--$where starts nodes, and --nodes brings them: choose one"
    [[ -z $node_timeout || ($node_timeout =~ ^[1-9][0-9]{0,4}$ && $node_timeout -le 60000) ]] ||
        fail_usage "--node-timeout needs a number of milliseconds up to 60000, not '$node_timeout'"
    [[ -z $nodes ]] || check_uris --nodes "$nodes"
    [[ $data_node != *,* ]] || fail_usage '--data-node is one URI, and has no comma'
    [[ -z $data_node ]] || check_uris --data-node "$data_node"
}
check_options

# --- processes and clean-up -----------------------------------------------------------------------------

programs=()   # process ids: of the examples and other programs that run() started
servers=()    # process ids: of the local nodes
postgres_pid= # of the PostgreSQL that this script started
guards=()     # process ids: of the watchers that guard() started
directory=    # for the files of all these
compose=()    # the docker compose command, once the project has been started
with_us=(setpriv --pdeathsig) # <signal> <program>...: it gets the signal when this script is killed with -9

# Whether the process is still a child of this script, and not another process that got the same id since.
is_ours() { grep -qs "^PPid:[[:space:]]*$$\$" "/proc/$1/status"; }

send() {
    local signal=$1 pid
    shift
    for pid in "$@"; do
        is_ours "$pid" && kill "-$signal" "$pid"
    done
}

# end <signal> <pid>...: sends the signal, waits up to 3 s for each process to clean up and end, then kills them.
end() {
    local tries pid
    send "$@"
    shift
    for pid in "$@"; do
        for ((tries = 0; tries < 60; ++tries)); do
            is_ours "$pid" || break
            sleep 0.05
        done
    done
    send KILL "$@"
}

# guard <command>...: runs the command if this script is killed with -9 and so cannot clean up itself.
guard() {
    # shellcheck disable=SC2016  # for the inner shell to expand
    GUARDED=$$ "${with_us[@]}" TERM bash -c '
        trap "" HUP INT
        trap "kill \$waiting; exit" USR1
        trap "kill \$waiting; \"\$@\" || { sleep 1; \"\$@\"; }; exit" TERM
        sleep infinity & waiting=$!
        [[ $PPID -eq $GUARDED ]] || kill -TERM $$ # killed before there was a guard
        wait' guard "$@" </dev/null >/dev/null 2>&1 &
    guards+=("$!")
    disown "$!"
}

clean_up() {
    local status=$?
    set +e # a failure here, such as a kill of an ended process, must not prevent the rest
    trap '' HUP INT TERM
    trap - EXIT
    exec 3>&2 2>/dev/null # the shell would report how each of them ended
    end TERM "${programs[@]}"
    [[ -z $postgres_pid ]] || end QUIT "$postgres_pid"
    send KILL "${servers[@]}" # a stopped process reacts to no other signal
    wait
    exec 2>&3 3>&-
    if [[ ${#compose[@]} -gt 0 ]]; then
        say 'ending the nodes ...'
        "${compose[@]}" unpause >/dev/null 2>&1
        "${compose[@]}" down --volumes --timeout 1 >/dev/null 2>&1 ||
            say "this failed: ${compose[*]} down --volumes"
    fi
    if [[ -n $directory ]]; then
        rm -rf -- "$directory"
    fi
    send USR1 "${guards[@]}" # the guards have nothing left to do
    exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a program in the background, so that the script handles a signal at once. (Installing and building run in
# the foreground, and get Ctrl-C themselves.)
run() {
    local pid status=0
    "${with_us[@]}" TERM "$@" &
    pid=$!
    programs+=("$pid")
    wait "$pid" || status=$?
    return "$status"
}

# --- building -------------------------------------------------------------------------------------------

install_missing() {
    [[ $setup == yes ]] || return 0
    "$root/tools/setup.sh" "$@" || exit
}

# The checkout may belong to another user, or be on a read-only file system.
choose_build_directory() {
    if mkdir -p -- "$build" 2>/dev/null && [[ -w $build ]]; then return; fi
    make_directory
    say "$root/build cannot be written: building in $directory"
    build=$directory/build
    mkdir -- "$build"
}

build_examples() {
    local log=$build/build.log lock
    if [[ -x $build/examples/$example ]]; then
        say 'building ...'
    else
        say 'building, which takes a while the first time ...'
    fi
    # One build at a time in one directory.
    exec {lock}>"$build/lock"
    flock "$lock"
    {
        cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DREDLOCK_BUILD_TESTS=OFF \
            -DREDLOCK_BUILD_BENCH=OFF -DREDLOCK_BUILD_EXAMPLES=ON &&
            cmake --build "$build" --target "example_$example"
    } >"$log" 2>&1 {lock}>&- || {
        tail -n 40 -- "$log" >&2
        fail 'the build failed'
    }
    exec {lock}>&-
}

# --- the nodes: docker compose --------------------------------------------------------------------------

has_docker() { docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }

first_busy_port() {
    local port
    for port in 6379 6380 6381 6382 6383; do
        if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            printf '%s\n' "$port"
            return
        fi
    done
}

start_docker_nodes() {
    local log
    make_directory
    log=$directory/docker.log
    compose=(docker compose --project-name "redlock-tour-$$" --file "$root/docker-compose.yml")
    guard "${compose[@]}" down --volumes --timeout 1
    say 'starting five nodes with docker compose (the first time, the image is fetched) ...'
    run "${compose[@]}" up --detach --wait >"$log" 2>&1 || {
        tail -n 20 -- "$log" >&2
        return 1
    }
    nodes=redis://127.0.0.1:6379,redis://127.0.0.1:6380,redis://127.0.0.1:6381
    nodes+=,redis://127.0.0.1:6382,redis://127.0.0.1:6383
    local quoted
    quoted=$(printf '%q ' "${compose[@]}")
    break_options=(--kill-node2 "${quoted}kill node2" --hang-node4 "${quoted}pause node4"
        --wake-node4 "${quoted}unpause node4")
}

# --- the nodes: processes of this machine ---------------------------------------------------------------

find_server() {
    local name
    for name in "${REDIS_SERVER:-}" redis-server valkey-server; do
        if [[ -n $name ]] && command -v "$name" >/dev/null; then
            printf '%s\n' "$name"
            return
        fi
    done
}

# The path must be short enough for unix sockets, and have no blanks, for URIs.
make_directory() {
    local parent=${TMPDIR:-/tmp}
    [[ -z $directory ]] || return 0
    if [[ ! $parent =~ ^/[A-Za-z0-9._/-]{0,60}$ || ! -w $parent ]]; then
        parent=/tmp
    fi
    directory=$(mktemp -d "${parent%/}/redlock.XXXXXX")
    guard rm -rf -- "$directory"
}

# start_server <name>: starts a node on a unix socket in the directory; it stores nothing on disk.
start_server() {
    "${with_us[@]}" KILL "$server" --port 0 --unixsocket "$directory/$1.sock" --unixsocketperm 700 --save '' --appendonly no \
        --daemonize no --dir "$directory" --logfile "$directory/$1.log" </dev/null >/dev/null 2>&1 &
    servers+=("$!")
    disown "$!" # the shell need not report how it ended
}

await_servers() {
    local socket tries
    for socket in "$@"; do
        for ((tries = 0; ; ++tries)); do
            [[ -S $directory/$socket.sock ]] && break
            if [[ $tries -eq 100 ]]; then
                tail -n 5 -- "$directory/$socket.log" >&2 || true
                fail "$server did not start"
            fi
            sleep 0.05
        done
    done
}

start_local_nodes() {
    local server names=() i
    server=$(find_server)
    if [[ -z $server ]]; then
        install_missing run
        server=$(find_server)
    fi
    [[ -n $server ]] || fail 'there is neither a redis-server nor a valkey-server here'
    make_directory
    say "starting five nodes, each a $(basename -- "$server") of its own ..."
    for ((i = 1; i <= node_count; ++i)); do
        names+=("node$i")
        nodes+=${nodes:+,}unix://$directory/node$i.sock
        start_server "node$i"
    done
    if [[ $example == fencing && -z $data_node ]]; then
        names+=(data)
        data_node=unix://$directory/data.sock
        start_server data
    fi
    await_servers "${names[@]}"
    break_options=(--kill-node2 "kill -KILL ${servers[1]}" --hang-node4 "kill -STOP ${servers[3]}"
        --wake-node4 "kill -CONT ${servers[3]}")
}

start_nodes() {
    local busy
    if [[ $where == docker ]]; then
        has_docker || fail 'no Docker engine with docker compose answers'
        start_docker_nodes || fail 'docker compose could not start the nodes; --local does without it'
    elif [[ $where == local ]] || ! has_docker; then
        start_local_nodes
    else
        busy=$(first_busy_port)
        if [[ -n $busy ]]; then
            say "port $busy is in use, so docker compose is left alone"
            start_local_nodes
        elif ! start_docker_nodes; then
            # Another program may have taken the ports since.
            say 'docker compose could not start the nodes, so they are started without it'
            start_local_nodes
        fi
    fi
}

# --- PostgreSQL, where it is installed ------------------------------------------------------------------

# The folder of PostgreSQL's programs: $POSTGRES_BIN, that of the programs in PATH, or the newest of Debian's.
find_postgres() {
    local folder folders=()
    if [[ -n ${POSTGRES_BIN:-} ]]; then
        folders=("$POSTGRES_BIN")
    else
        folder=$(command -v initdb) && folders=("$(dirname -- "$(readlink -f -- "$folder")")")
        mapfile -t -O "${#folders[@]}" folders < <(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV)
    fi
    for folder in "${folders[@]}"; do
        if [[ -x $folder/initdb && -x $folder/postgres ]]; then
            printf '%s\n' "$folder"
            return
        fi
    done
}

# PostgreSQL refuses to run as root, so root starts it as one of these users.
find_postgres_user() {
    local name
    for name in postgres nobody; do
        if id -u "$name" >/dev/null 2>&1; then
            printf '%s\n' "$name"
            return
        fi
    done
}

# Sets `postgres`, or `why_no_postgres` if PostgreSQL cannot be started; the example then runs without it.
start_postgres() {
    local bin home log user='' as_user tries
    bin=$(find_postgres)
    if [[ -z $bin ]]; then
        why_no_postgres='initdb and postgres are not installed here, and --postgres gave no other'
        return
    fi
    as_user=("${with_us[@]}" QUIT) # on QUIT PostgreSQL ends at once, with all its processes
    if [[ $EUID -eq 0 ]]; then
        user=$(find_postgres_user)
        if [[ -z $user ]]; then
            why_no_postgres='it refuses to run as root, and there is no other user'
            return
        fi
        as_user+=("--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
    fi
    make_directory
    home=$directory/postgres
    log=$directory/postgres.log
    mkdir -m 700 -- "$home"
    if [[ -n $user ]]; then
        chmod 711 -- "$directory" # so that the user can reach its own folder
        chown -- "$user" "$home"
    fi
    as_user=(env "--chdir=$home" LC_ALL=C "${as_user[@]}" --)
    say 'starting a PostgreSQL of its own ...'
    run "${as_user[@]}" "$bin/initdb" --pgdata "$home/data" --auth=trust --username=example --no-sync \
        --locale=C >"$log" 2>&1 || {
        why_no_postgres="initdb failed: $(tail -n 1 -- "$log")"
        return
    }
    "${as_user[@]}" "$bin/postgres" -D "$home/data" -k "$home" -p 5432 -c listen_addresses= -c fsync=off \
        </dev/null >"$log" 2>&1 &
    postgres_pid=$!
    disown "$postgres_pid"
    for ((tries = 0; ; ++tries)); do
        grep -qs '^ready' "$home/data/postmaster.pid" && break
        if [[ $tries -eq 200 ]] || ! is_ours "$postgres_pid"; then
            why_no_postgres="it did not start: $(tail -n 1 -- "$log")"
            return
        fi
        sleep 0.05
    done
    postgres="host=$home port=5432 user=example dbname=postgres"
}

# --- the examples ---------------------------------------------------------------------------------------

play_cron() {
    local first i instances=()
    for i in 1 2 3; do
        "${with_us[@]}" TERM "$build/examples/cron" "$nodes" "instance-$i" &
        programs+=("$!")
        instances+=("$!")
        run sleep 0.3
    done
    run sleep 3.5
    first=${instances[0]}
    is_ours "$first" || fail 'instance-1 has ended'
    say "--- kill -9 $first: instance-1 dies; its lock ends by its ttl"
    kill -KILL "$first"
    wait "$first" 2>/dev/null || true
    run sleep 5
    say '--- SIGTERM to the others: who has the lock gives it back'
    kill -TERM "${instances[1]}" "${instances[2]}"
    wait "${instances[1]}" "${instances[2]}"
}

play_fencing() {
    local program=$build/examples/fencing why_no_postgres=
    if [[ -z $postgres ]] && "$program" --has-postgres; then
        start_postgres
    fi
    run "$program" "$nodes" "${data_node:-${nodes%%,*}}" ${postgres:+--postgres "$postgres"} \
        ${why_no_postgres:+--no-postgres "$why_no_postgres"}
}

play() {
    local program=$build/examples/$example
    case $example in
    tour) run "$program" --nodes "$nodes" ${node_timeout:+--node-timeout "$node_timeout"} \
        "${break_options[@]}" ;;
    quickstart) run "$program" "$nodes" ;;
    cron) play_cron ;;
    fencing) play_fencing ;;
    esac
}

break_options=()
install_missing build
choose_build_directory
build_examples
if [[ -z $nodes ]]; then
    start_nodes
fi
play
