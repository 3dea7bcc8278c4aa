# SPDX-License-Identifier: Apache-2.0
# For redlock's own tests, benchmarks and examples; nothing here reaches a user of the library.

set(REDLOCK_SANITIZE
    ""
    CACHE STRING "Sanitizers for redlock's own programs: 'address,undefined' or 'thread'")
option(REDLOCK_UNITY "Compile the test suites in a few large pieces: a third of the time, all told" OFF)
option(REDLOCK_WERROR "Warnings in redlock's own programs are errors" OFF)

find_program(REDLOCK_CCACHE ccache)
mark_as_advanced(REDLOCK_CCACHE)
if(PROJECT_IS_TOP_LEVEL
   AND REDLOCK_CCACHE
   AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${REDLOCK_CCACHE}")
endif()

# Warnings and sanitizers, to be linked by every program of ours.
add_library(redlock_development INTERFACE)
target_compile_options(
  redlock_development INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
                                $<$<BOOL:${REDLOCK_WERROR}>:-Werror>)
if(REDLOCK_SANITIZE)
  target_compile_options(
    redlock_development INTERFACE "-fsanitize=${REDLOCK_SANITIZE}" -fno-sanitize-recover=all
                                  -fno-omit-frame-pointer)
  target_link_options(redlock_development INTERFACE "-fsanitize=${REDLOCK_SANITIZE}")
  # What sanitizers insert makes g++ see uninitialised variables where there are none; the other builds look.
  target_compile_options(redlock_development
                         INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

# The compiled library too; it does not link the target, which would have to be exported with it.
if(TARGET redlock_compiled)
  target_compile_options(redlock_compiled
                         PRIVATE $<TARGET_PROPERTY:redlock_development,INTERFACE_COMPILE_OPTIONS>)
  target_link_options(redlock_compiled PRIVATE
                      $<TARGET_PROPERTY:redlock_development,INTERFACE_LINK_OPTIONS>)
  set_target_properties(redlock_compiled PROPERTIES CXX_COMPILER_LAUNCHER "${CMAKE_CXX_COMPILER_LAUNCHER}")
endif()

# redlock_use(<target> [COMPILED]): it uses redlock and is held to our warnings. COMPILED: it links the compiled
# library where there is one, and hiredis as well, for tests of what lies behind the face; else it is header-only.
function(redlock_use target)
  set(library redlock::redlock)
  if("COMPILED" IN_LIST ARGN AND TARGET redlock_compiled)
    set(library redlock::compiled hiredis::hiredis)
  endif()
  target_link_libraries(${target} PRIVATE ${library} redlock_development)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()

# redlock_program(<name> [COMPILED] <source>...): an executable that uses redlock so.
function(redlock_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "COMPILED" "" "")
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  if(arg_COMPILED)
    redlock_use(${name} COMPILED)
  else()
    redlock_use(${name})
  endif()
endfunction()

# redlock_use_libpq(<program>): PostgreSQL's client library, and REDLOCK_HAS_LIBPQ. Where it is not installed,
# neither: the program says that it does without.
function(redlock_use_libpq program)
  find_path(redlock_libpq_INCLUDE libpq-fe.h PATH_SUFFIXES postgresql pgsql)
  find_library(redlock_libpq_LIBRARY pq)
  mark_as_advanced(redlock_libpq_INCLUDE redlock_libpq_LIBRARY)
  if(redlock_libpq_INCLUDE AND redlock_libpq_LIBRARY)
    target_include_directories(${program} SYSTEM PRIVATE "${redlock_libpq_INCLUDE}")
    target_link_libraries(${program} PRIVATE "${redlock_libpq_LIBRARY}")
    target_compile_definitions(${program} PRIVATE REDLOCK_HAS_LIBPQ)
  endif()
endfunction()
