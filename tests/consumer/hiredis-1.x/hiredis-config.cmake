# SPDX-License-Identifier: Apache-2.0
# What the CMake package of hiredis 1.x looks like to a user: a target hiredis::hiredis. It stands on the
# hiredis of the system, of whatever version.
find_path(consumer_hiredis_include hiredis/hiredis.h REQUIRED)
find_library(consumer_hiredis_library hiredis REQUIRED)
add_library(hiredis::hiredis UNKNOWN IMPORTED)
set_target_properties(
  hiredis::hiredis PROPERTIES IMPORTED_LOCATION "${consumer_hiredis_library}"
                              INTERFACE_INCLUDE_DIRECTORIES "${consumer_hiredis_include}")
