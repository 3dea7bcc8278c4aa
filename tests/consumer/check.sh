#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One way of using the library from outside: check.sh <case> <scratch directory>. Run by ctest, which sets
#
#   REDLOCK_BINARY_DIR  a configured build tree of ours, to install from
#   REDLOCK_PREFIX      where the cases "install" and "compiled_install" put the library, for the cases after them
#   REDLOCK_LINK        the target that is used: redlock::redlock, which is the default, or redlock::compiled
#   SHARED              compiled_install and pkg_config only: OFF or ON, the kind of the compiled library
#   CXX, CMAKE          the compiler and the cmake to use; and CMAKE_GENERATOR, which cmake reads itself
#   STANDARDS           pkg_config only: the -std of main.cpp and, after a comma, that of other.cpp
#   REDLOCK_HIREDIS_1   hiredis_target only, and optional: the prefix of a real hiredis 1.x to use
#   REDIS_SERVER        mixed only, and optional: the program of the node
set -euo pipefail

case_name=$1
scratch=$2
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source_dir=$(cd -- "$here/../.." && pwd)
cmake=${CMAKE:-cmake}
link=${REDLOCK_LINK:-redlock::redlock}
# What another project sets that wants the library among its sources, or a packager; all else is the default.
library_alone=(-DREDLOCK_BUILD_TESTS=OFF -DREDLOCK_BUILD_BENCH=OFF -DREDLOCK_BUILD_EXAMPLES=OFF)
strict=(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

rm -rf -- "$scratch"
mkdir -p -- "$scratch"

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# configure <cmake argument...>: the user's project, where redlock comes from REDLOCK_FROM.
configure() {
    local build_type=Release
    # Whose definitions are elsewhere: nothing for an optimiser to warn of.
    [[ $link != redlock::compiled ]] || build_type=Debug
    "$cmake" -S "$here/project" -B "$scratch/build" -DCMAKE_BUILD_TYPE="$build_type" \
        -DCMAKE_CXX_FLAGS="${strict[*]}" -DREDLOCK_LINK="$link" "$@"
}

build_and_run() {
    configure "$@"
    "$cmake" --build "$scratch/build"
    "$scratch/build/consumer"
    [[ $link != redlock::compiled ]] || check_usage
}

# Of the compiled library a user gets one macro and one include directory; hiredis is linked, and no more.
check_usage() {
    local usage include
    usage=$(<"$scratch/build/usage.txt")
    grep -qx 'COMPILE_DEFINITIONS=REDLOCK_COMPILED' <<<"$usage" || fail "other macros than one: $usage"
    grep -qxE 'COMPILE_OPTIONS=(-pthread)?' <<<"$usage" || fail "compiler options: $usage"
    # Among a project's sources the list has an empty part at its end.
    include=$(sed -n 's/^INCLUDE_DIRECTORIES=\([^;]*\);*$/\1/p' <<<"$usage")
    [[ -e $include/redlock/redlock.hpp ]] || fail "other include directories than one: $usage"
}

# expect_no_compiled: the prefix has no compiled library, and a user who wants it is told so.
expect_no_compiled() {
    local found output
    found=$(find "$1" -name '*.a' -o -name '*.so*' -o -name '*.dylib' -o -name 'redlock-compiled*')
    [[ -z $found ]] || fail "installed unasked: $found"
    if output=$(link=redlock::compiled configure -DREDLOCK_FROM=find_package -DCMAKE_PREFIX_PATH="$1" 2>&1); then
        fail 'redlock::compiled is there and was not built'
    fi
    grep -q 'there is no target redlock::compiled' <<<"$output" || fail "another reason: $output"
    rm -rf -- "$scratch/build"
}

# hiredis_headers <source> [flag...]: the headers of hiredis itself, whose names end in .h, that it reads.
hiredis_headers() {
    local headers
    headers=$("$CXX" -std=c++20 "-I$source_dir/include" "${@:2}" -M "$1") || fail "$1 does not compile"
    tr ' ' '\n' <<<"$headers" | grep 'hiredis/[^/]*\.h$' || true
}

# run_with_node <program>: with the URI of a node of its own, which ends with it.
run_with_node() {
    local directory node status=0
    directory=$(mktemp -d /tmp/redlock.XXXXXX) # a socket's path must be short
    timeout 120 "${REDIS_SERVER:-redis-server}" --port 0 --unixsocket "$directory/node" --dir "$directory" --save '' \
        >"$directory/log" 2>&1 &
    node=$!
    "$1" "unix://$directory/node" || status=$?
    kill "$node" 2>/dev/null || status=$?
    wait "$node" || true
    [[ $status -eq 0 ]] || cat -- "$directory/log"
    rm -rf -- "$directory"
    return "$status"
}

# expect_refused <version>: find_package(redlock <version>) fails, and because of the version.
expect_refused() {
    local output
    if output=$(configure -DREDLOCK_FROM=find_package -DCMAKE_PREFIX_PATH="$REDLOCK_PREFIX" \
        -DREDLOCK_WANTED="$1" 2>&1); then
        fail "find_package(redlock $1) took a version that does not fit"
    fi
    grep -q "redlock-config.cmake, version: 0" <<<"$output" ||
        fail "find_package(redlock $1) failed, but not because of the version: $output"
    rm -rf -- "$scratch/build"
}

case $case_name in
install)
    # Installed in one place and moved to another: nothing in it may know where it was.
    rm -rf -- "$REDLOCK_PREFIX"
    "$cmake" --install "$REDLOCK_BINARY_DIR" --prefix "$scratch/first place"
    mv -- "$scratch/first place" "$REDLOCK_PREFIX"
    # Debug information does: not so the compiled library of the case "compiled_install".
    if grep -rlF --exclude='libredlock.*' -e "$source_dir" -e "$scratch" -- "$REDLOCK_PREFIX"; then
        fail "the installed files above name the build's directories"
    fi
    cmp -- "$source_dir/LICENSE" "$REDLOCK_PREFIX/share/licenses/redlock/LICENSE" ||
        fail 'the licence is not installed'
    "$cmake" --install "$REDLOCK_BINARY_DIR" --prefix "$scratch/component" --component redlock-dev
    diff -r -- "$REDLOCK_PREFIX" "$scratch/component" || fail 'the component redlock-dev is not all of it'
    ;;
build_tree)
    # The build would be that of find_package; this is about what is found.
    configure -DREDLOCK_FROM=find_package -Dredlock_DIR="$REDLOCK_BINARY_DIR" -DREDLOCK_WANTED=0.1
    ;;
readme)
    # The commands of the README as they stand there, and no generator but the one that cmake takes by itself.
    unset CMAKE_GENERATOR
    cp -R -- "$source_dir"/{CMakeLists.txt,LICENSE,cmake,include} "$scratch"
    command=$(tr '\n\140' ' |' <"$source_dir/README.md" | grep -o '|cmake -B build [^|]*|' | tr -d '|')
    read -r -a words <<<"$command"
    [[ ${words[0]-} == cmake ]] || fail 'README.md does not say how to install'
    cd -- "$scratch"
    "$cmake" "${words[@]:1}"
    "$cmake" --install build --prefix "$scratch/prefix"
    ;;
sub_project)
    # What another project installs has nothing of ours in it unasked.
    "$cmake" -S "$here/parent" -B "$scratch/build" -DREDLOCK_SOURCE="$source_dir" -DREDLOCK_IN_OUR_EXPORT=ON
    "$cmake" --install "$scratch/build" --prefix "$scratch/prefix"
    if find "$scratch/prefix" -type f -not -path '*/cmake/parent/*' | grep .; then
        fail 'the files above were installed unasked'
    fi
    ;;
sub_project_install)
    # Where the project asks for it, ours is there for those who link the project's own exported target.
    "$cmake" -S "$here/parent" -B "$scratch/parent" -DREDLOCK_SOURCE="$source_dir" -DREDLOCK_INSTALL=ON
    "$cmake" --install "$scratch/parent" --prefix "$scratch/prefix"
    configure -DREDLOCK_FROM=find_package -DCMAKE_PREFIX_PATH="$scratch/prefix" -DREDLOCK_WANTED=0.1 \
        -DPARENT_TARGETS="$scratch/prefix/lib/cmake/parent/parent-targets.cmake"
    ;;
add_subdirectory)
    compiled=()
    [[ $link != redlock::compiled ]] || compiled=(-DREDLOCK_BUILD_COMPILED=ON)
    build_and_run -DREDLOCK_FROM=add_subdirectory -DREDLOCK_SOURCE="$source_dir" "${compiled[@]}"
    ;;
fetch_content)
    # The build would be that of add_subdirectory; this is about what comes along.
    configure -DREDLOCK_FROM=fetch_content -DFETCHCONTENT_SOURCE_DIR_REDLOCK="$source_dir"
    ;;
find_package)
    build_and_run -DREDLOCK_FROM=find_package -DCMAKE_PREFIX_PATH="$REDLOCK_PREFIX" \
        -DREDLOCK_WANTED=0.1 -DCMAKE_CXX_STANDARD=23
    ;;
wrong_version)
    expect_refused 9
    expect_refused 0.2
    expect_refused 0.0.9
    ;;
hiredis_target)
    # hiredis 1.x brings a CMake package with the target hiredis::hiredis: that one is taken.
    if [[ -n ${REDLOCK_HIREDIS_1:-} ]]; then
        build_and_run -DREDLOCK_FROM=find_package -DREDLOCK_WANTED=0.1 \
            -DCMAKE_PREFIX_PATH="$REDLOCK_PREFIX;$REDLOCK_HIREDIS_1" \
            -DCMAKE_BUILD_RPATH="$REDLOCK_HIREDIS_1/lib" -DHIREDIS_FROM="$REDLOCK_HIREDIS_1"
    else
        build_and_run -DREDLOCK_FROM=find_package -DREDLOCK_WANTED=0.1 \
            -DCMAKE_PREFIX_PATH="$REDLOCK_PREFIX" -Dhiredis_DIR="$here/hiredis-1.x" \
            -DHIREDIS_FROM="$here/hiredis-1.x"
    fi
    ;;
default_install)
    # Where nothing is asked for, the library is its headers.
    "$cmake" -S "$source_dir" -B "$scratch/library" "${library_alone[@]}"
    "$cmake" --build "$scratch/library"
    "$cmake" --install "$scratch/library" --prefix "$scratch/prefix"
    expect_no_compiled "$scratch/prefix"
    # The build would be that of find_package; this is about what is found.
    configure -DREDLOCK_FROM=find_package -DCMAKE_PREFIX_PATH="$scratch/prefix" -DREDLOCK_WANTED=0.1
    ;;
compiled_install)
    # Moved afterwards, as in the case "install"; without a build type, so that it has no debug information.
    rm -rf -- "$REDLOCK_PREFIX"
    "$cmake" -S "$source_dir" -B "$scratch/build" "${library_alone[@]}" -DCMAKE_CXX_FLAGS="${strict[*]}" \
        -DREDLOCK_BUILD_COMPILED=ON -DBUILD_SHARED_LIBS="$SHARED"
    "$cmake" --build "$scratch/build"
    "$cmake" --install "$scratch/build" --prefix "$scratch/first place"
    mv -- "$scratch/first place" "$REDLOCK_PREFIX"
    if grep -rlF -e "$source_dir" -e "$scratch" -- "$REDLOCK_PREFIX"; then
        fail "the installed files above name the build's directories"
    fi
    ;;
mixed)
    # A unit of each kind in one program, which takes locks.
    configure -DREDLOCK_FROM=find_package -DCMAKE_PREFIX_PATH="$REDLOCK_PREFIX"
    "$cmake" --build "$scratch/build" --target consumer_mixed
    run_with_node "$scratch/build/consumer_mixed"
    ;;
by_hand)
    # Without CMake: the macro for the whole program, and one more source file.
    printf '#include <redlock/src.hpp>\n' >"$scratch/redlock.cpp"
    for source in "$scratch/redlock.cpp" "$here"/project/{main,other}.cpp; do
        "$CXX" -std=c++20 "${strict[@]}" -DREDLOCK_COMPILED "-I$source_dir/include" -c "$source" \
            -o "$scratch/$(basename -- "$source").o"
    done
    "$CXX" "$scratch"/*.o -lhiredis -pthread -o "$scratch/consumer"
    "$scratch/consumer"
    ;;
no_hiredis)
    # What users of the compiled library include needs no hiredis to be installed.
    [[ -n $(hiredis_headers "$here/project/main.cpp") ]] || fail 'no header of hiredis is recognised'
    for header in "$source_dir"/include/redlock/*.hpp; do
        [[ $header != */src.hpp && $header != */custom.hpp ]] || continue
        printf '#include <redlock/%s>\n' "$(basename -- "$header")"
    done >"$scratch/all_faces.cpp"
    for source in "$here"/project/{main,other}.cpp "$scratch/all_faces.cpp"; do
        found=$(hiredis_headers "$source" -DREDLOCK_COMPILED)
        [[ -z $found ]] || fail "$source reads $found"
    done
    ;;
pkg_config)
    package=redlock
    [[ $link != redlock::compiled ]] || package=redlock-compiled
    config=$(find "$REDLOCK_PREFIX" -name "$package.pc" -exec dirname {} \;)
    export PKG_CONFIG_PATH=$config${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
    pkg-config --exists --print-errors "$package >= 0.1 $package < 0.2"
    # A static library names what it needs itself where it is asked.
    static=()
    [[ ${SHARED:-} != OFF ]] || static=(--static)
    # As a shell reads them: pkg-config puts a backslash before a blank in a path.
    declare -a flags libraries
    eval "flags=($(pkg-config --cflags "$package")) libraries=($(pkg-config "${static[@]}" --libs "$package"))"
    [[ $link != redlock::compiled || " ${flags[*]} " == *' -DREDLOCK_COMPILED '* ]] || fail "no macro: ${flags[*]}"
    compile=(${CMAKE_CXX_COMPILER_LAUNCHER:+"$CMAKE_CXX_COMPILER_LAUNCHER"} "$CXX" "${strict[@]}")
    "${compile[@]}" "-std=${STANDARDS%%,*}" "${flags[@]}" -c "$here/project/main.cpp" -o "$scratch/main.o"
    "${compile[@]}" "-std=${STANDARDS##*,}" "${flags[@]}" -c "$here/project/other.cpp" -o "$scratch/other.o"
    "$CXX" "$scratch/main.o" "$scratch/other.o" "${libraries[@]}" -o "$scratch/consumer"
    LD_LIBRARY_PATH=$(dirname -- "$config"):${LD_LIBRARY_PATH:-} "$scratch/consumer"
    ;;
misuse)
    # Each of these must not compile, for the reason in its first line; with RIGHT it does.
    compile=("$CXX" -std=c++20 "${strict[@]}" -fsyntax-only "-I$source_dir/include")
    for source in "$here"/misuse/*.cpp; do
        "${compile[@]}" -DRIGHT "$source" || fail "$source does not compile where it is right"
        if output=$("${compile[@]}" "$source" 2>&1); then fail "$source compiles"; fi
        reason=$(sed -n '1s|^// expected: ||p' "$source")
        grep -qE -- "$reason" <<<"$output" || fail "$source, but not because of '$reason': $output"
    done
    ;;
requirements)
    # The first error is the one that says it, whatever header comes first.
    for header in "$source_dir"/include/redlock/*.hpp; do
        for lack in '-std=c++20 -fno-exceptions:redlock needs exceptions' '-std=c++17:redlock needs C++20'; do
            read -r -a flags <<<"${lack%%:*}"
            output=$("$CXX" "${flags[@]}" -fsyntax-only "-I$source_dir/include" -x c++ "$header" 2>&1) &&
                fail "$header compiles with ${lack%%:*}"
            grep -m 1 'error' <<<"$output" | grep -q "${lack#*:}" || fail "$header: $output"
        done
    done
    ;;
*)
    fail "no such case: $case_name"
    ;;
esac
