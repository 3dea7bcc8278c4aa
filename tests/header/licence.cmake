# SPDX-License-Identifier: Apache-2.0
# Every source file, script and CMake file names its licence, once, in its first three lines. Called with
# -DROOT=<the source tree>.

set(line "SPDX-License-Identifier: ")
string(APPEND line "Apache-2.0")

set(patterns "")
foreach(folder IN ITEMS bench cmake docs examples include src tests tools)
  foreach(ending IN ITEMS hpp cpp sh py cmake in)
    list(APPEND patterns "${ROOT}/${folder}/*.${ending}")
  endforeach()
  list(APPEND patterns "${ROOT}/${folder}/CMakeLists.txt")
endforeach()
file(GLOB_RECURSE files ${patterns})
list(APPEND files "${ROOT}/CMakeLists.txt" "${ROOT}/.ci/run")

list(LENGTH files count)
if(count LESS 100)
  message(FATAL_ERROR "only ${count} files in ${ROOT}")
endif()

set(problems "")
foreach(file IN LISTS files)
  file(STRINGS "${file}" first LIMIT_COUNT 3)
  file(STRINGS "${file}" all REGEX "${line}")
  list(LENGTH all times)
  if(NOT "${first}" MATCHES "${line}" OR NOT times EQUAL 1)
    string(APPEND problems "  ${file}\n")
  endif()
endforeach()
if(problems)
  message(FATAL_ERROR "without the one line \"${line}\" at the beginning:\n${problems}")
endif()
