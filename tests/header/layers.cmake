# SPDX-License-Identifier: Apache-2.0
# The seam to the nodes, as far as includes show it: only hiredis/ includes hiredis and sockets, and no other
# room but impl/ includes hiredis/ or the class Redlock. That rooms do not include each other is the test docs.picture's.
# Called with -DROOT=<include/redlock>.

file(GLOB_RECURSE headers RELATIVE "${ROOT}" "${ROOT}/*.hpp")
if(NOT headers)
  message(FATAL_ERROR "no headers in ${ROOT}")
endif()

set(problems "")
foreach(header IN LISTS headers)
  if(header MATCHES "^hiredis/")
    continue()
  endif()
  set(forbidden "<hiredis/|<sys/(socket|epoll|un)|<poll\\.h|<netdb|<netinet")
  if(header MATCHES "/" AND NOT header MATCHES "^impl/")
    string(APPEND forbidden "|redlock/(hiredis/|redlock\\.hpp)")
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
