# SPDX-License-Identifier: Apache-2.0
# Everything that a header declares is in the inline namespace of its version, so that two versions can live in
# one process. Called with -DROOT=<include/redlock>.

file(STRINGS "${ROOT}/version.hpp" major REGEX "define REDLOCK_VERSION_MAJOR ")
file(STRINGS "${ROOT}/version.hpp" minor REGEX "define REDLOCK_VERSION_MINOR ")
string(REGEX REPLACE "[^0-9]" "" major "${major}")
string(REGEX REPLACE "[^0-9]" "" minor "${minor}")
set(wanted "namespace redlock::inline v${major}_${minor}")

file(GLOB_RECURSE headers RELATIVE "${ROOT}" "${ROOT}/*.hpp")
set(problems "")
set(count 0)
foreach(header IN LISTS headers)
  file(STRINGS "${ROOT}/${header}" lines REGEX "^namespace redlock")
  foreach(line IN LISTS lines)
    math(EXPR count "${count} + 1")
    if(NOT line MATCHES "^${wanted}(::[a-z]+)* {$")
      string(APPEND problems "  ${header}: ${line}\n")
    endif()
  endforeach()
endforeach()

if(problems OR count EQUAL 0)
  message(FATAL_ERROR "${count} namespaces, of which these are not in ${wanted}:\n${problems}")
endif()
