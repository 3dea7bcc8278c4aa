# SPDX-License-Identifier: Apache-2.0
# The layers of the library, as far as its includes show them: core/ names no socket, no hiredis and no
# leaf; only hiredis/ includes hiredis. Called with -DROOT=<include/redlock>.

file(GLOB_RECURSE headers RELATIVE "${ROOT}" "${ROOT}/*.hpp")
if(NOT headers)
  message(FATAL_ERROR "no headers in ${ROOT}")
endif()

set(problems "")
foreach(header IN LISTS headers)
  if(header MATCHES "^hiredis/")
    continue()
  endif()
  set(forbidden "<hiredis/")
  if(header MATCHES "^core/")
    set(forbidden "<hiredis/|<sys/(socket|epoll|un)|<poll\\.h|<netdb|<netinet|redlock/(hiredis/|redlock\\.hpp)")
  endif()
  file(STRINGS "${ROOT}/${header}" lines REGEX "^ *# *include *[<\"].*")
  foreach(line IN LISTS lines)
    if(line MATCHES "${forbidden}")
      string(APPEND problems "  ${header}: ${line}\n")
    endif()
  endforeach()
endforeach()

if(problems)
  message(FATAL_ERROR "includes that cross the layers:\n${problems}")
endif()
