#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing on a Debian or Ubuntu machine, and nothing else:
#
#   tools/setup.sh <group>...     the groups of tools/packages.txt, for example: tools/setup.sh build run
#
# Where nothing is missing it calls no package manager, needs no rights and prints nothing. It asks no
# questions. A Redis or PostgreSQL package starts a service of its own when it is installed: that is
# prevented, so that no service runs, now or after the next boot, that was not there before.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
list=$here/packages.txt
policy=/usr/sbin/policy-rc.d
policy_mark='written by redlock tools/setup.sh'

say() { printf '%s\n' "setup: $*" >&2; }

if [[ $# -eq 0 ]]; then
    sed -n '3,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi

# --- what is missing ------------------------------------------------------------------------------------

has_header() {
    local compiler
    compiler=$(command -v g++ || command -v clang++) || return 1
    printf '#include <%s>\n' "$1" | "$compiler" -E -x c++ - >/dev/null 2>&1
}

# Distribution packages go to /usr/bin/python3, which need not be the first in PATH.
has_python_module() {
    local python
    for python in python3 /usr/bin/python3; do
        "$python" -c "import $1" 2>/dev/null && return
    done
    return 1
}

# Whether the compiler links ThreadSanitizer's runtime.
has_sanitizer() {
    command -v "$1" >/dev/null || return 1
    printf 'int main() {}\n' | "$1" -fsanitize=thread -x c++ - -o /dev/null 2>/dev/null
}

# Debian and Ubuntu keep the server's programs out of PATH.
has_postgres_program() {
    command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null
}

present() {
    case $1 in
    cmd:*) command -v "${1#cmd:}" >/dev/null ;;
    header:*) has_header "${1#header:}" ;;
    python:*) has_python_module "${1#python:}" ;;
    sanitizer:*) has_sanitizer "${1#sanitizer:}" ;;
    postgres:*) has_postgres_program "${1#postgres:}" ;;
    *) say "packages.txt: unknown probe $1" && exit 2 ;;
    esac
}

# One line "<must or may> <package>..." for each probe of the wanted groups that finds nothing.
find_missing() {
    local group probe packages need
    while read -r group probe packages; do
        [[ -z $group || $group == \#* ]] && continue
        [[ " $wanted " == *" $group "* ]] || continue
        present "$probe" && continue
        need=must
        if [[ $packages == *optional ]]; then
            need=may
            packages=${packages%optional}
        fi
        printf '%s %s\n' "$need" "$packages"
    done <"$list"
}

wanted=$*
for group in "$@"; do
    if ! grep -q "^$group " "$list"; then
        say "no such group: $group"
        exit 2
    fi
done
missing=$(find_missing | sort -u)
if [[ -z $missing ]]; then
    exit 0
fi

# --- the way to install it ------------------------------------------------------------------------------

if ! command -v apt-get >/dev/null; then
    if grep -q '^must' <<<"$missing"; then
        say 'this machine has no apt-get; please install by hand what these packages hold:'
        sed -n 's/^must /  /p' <<<"$missing" >&2
        exit 1
    fi
    exit 0
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        # Whatever may be missing is no reason to stop.
        grep -q '^must' <<<"$missing" || exit 0
        say 'root or sudo is needed to install:'
        sed -n 's/^must /  /p' <<<"$missing" >&2
        exit 1
    fi
    as_root=(sudo)
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)

# One at a time, whatever checkout it is run from: two would take each other's policy away (see below). What is locked
# is a folder that every machine has; the package manager, which may start services, does not inherit the lock.
exec {one_at_a_time}</usr/sbin
if ! flock -n "$one_at_a_time"; then
    say 'waiting for another run of this script'
    flock "$one_at_a_time"
    missing=$(find_missing | sort -u)
    [[ -n $missing ]] || exit 0
fi

# --- no service -----------------------------------------------------------------------------------------

services=(redis-server valkey-server postgresql) # each is named as its package is

# Puts back the policy that was there before us; says nothing and does nothing where there was none.
restore_policy() {
    if grep -qs "$policy_mark" "$policy"; then
        if [[ -e $policy.redlock-saved || -L $policy.redlock-saved ]]; then
            "${as_root[@]}" mv -f -- "$policy.redlock-saved" "$policy"
        else
            "${as_root[@]}" rm -f -- "$policy"
        fi
    fi
}

# Until restore_policy, the package manager starts none of them; of others the former policy decides.
forbid_services() {
    restore_policy # of a run that was killed
    if [[ -e $policy || -L $policy ]]; then
        "${as_root[@]}" mv -- "$policy" "$policy.redlock-saved"
    fi
    "${as_root[@]}" tee -- "$policy" >/dev/null <<EOF
#!/bin/sh
# $policy_mark, and removed by it
case " \$* " in *" redis-server"* | *" valkey-server"* | *" postgresql"*) exit 101 ;; esac
[ -x $policy.redlock-saved ] && exec $policy.redlock-saved "\$@"
exit 0
EOF
    "${as_root[@]}" chmod 755 "$policy"
}

# A package that was installed just now is not to start its service at the next boot either.
disable_new_service() {
    local service=$1
    if command -v systemctl >/dev/null; then
        "${as_root[@]}" systemctl disable "$service" >/dev/null 2>&1 || true
    elif command -v deb-systemd-helper >/dev/null; then
        "${as_root[@]}" deb-systemd-helper disable "$service.service" >/dev/null 2>&1 || true
    fi
    if command -v update-rc.d >/dev/null && [[ -e /etc/init.d/$service ]]; then
        "${as_root[@]}" update-rc.d "$service" disable >/dev/null 2>&1 || true
    fi
}

# --- installing -----------------------------------------------------------------------------------------

has_candidate() {
    local known # first all of it: grep -q would end the pipe, and the pipe would fail
    known=$(apt-cache policy "$1" 2>/dev/null)
    grep -q '^  Candidate: [^(]' <<<"$known"
}

# Turns the missing lines into the packages to install, where the distribution has them.
choose_packages() {
    local need names name chosen
    while read -r need names; do
        chosen=
        for name in $names; do
            if has_candidate "$name"; then
                chosen=$name
                break
            fi
        done
        if [[ -n $chosen ]]; then
            printf '%s\n' "$chosen"
        elif [[ $need == must ]]; then
            say "this distribution has none of: $names"
            return 1
        fi
    done <<<"$missing"
}

# Where only what may be missing is missing, and known not to exist here, there is nothing to do.
if ! grep -q '^must' <<<"$missing" && compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null &&
    [[ -z $(choose_packages) ]]; then
    exit 0
fi

update_log=$(mktemp)
trap 'rm -f -- "$update_log"' EXIT
say 'reading the package lists'
"${apt[@]}" update >"$update_log" 2>&1 {one_at_a_time}>&- || {
    cat -- "$update_log" >&2
    say 'apt-get update failed; trying with the lists that are there'
}

chosen=$(choose_packages)
if [[ -z $chosen ]]; then
    exit 0
fi
mapfile -t packages < <(sort -u <<<"$chosen")
say "installing ${packages[*]}"

new_services=()
for service in "${services[@]}"; do
    if [[ " ${packages[*]} " == *" $service "* ]]; then
        new_services+=("$service")
    fi
done
if [[ ${#new_services[@]} -gt 0 ]]; then
    trap 'restore_policy; rm -f -- "$update_log"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    forbid_services
fi

status=0
"${apt[@]}" install --no-install-recommends "${packages[@]}" >"$update_log" 2>&1 \
    {one_at_a_time}>&- || status=$?
if [[ $status -ne 0 ]]; then
    cat -- "$update_log" >&2
    say "apt-get install failed"
    exit 1
fi
for service in "${new_services[@]}"; do
    disable_new_service "$service"
done
