# SPDX-License-Identifier: Apache-2.0
# Finds hiredis, whichever way it was installed, and offers it as the target hiredis::hiredis, to be
# included as <hiredis/hiredis.h>. In this order:
#
#   1. a target the project already has (hiredis::hiredis, or hiredis from add_subdirectory);
#   2. the CMake config file of hiredis 1.x (also from vcpkg or Conan);
#   3. the header and the library, with hints from pkg-config where it is there. Debian 12 and Ubuntu
#      22.04 ship hiredis 0.14.1, whose HiredisConfig.cmake defines no target, so they end here.
#
# Sets hiredis_FOUND and, where it is known, hiredis_VERSION.

if(TARGET hiredis AND NOT TARGET hiredis::hiredis)
  add_library(hiredis::hiredis ALIAS hiredis)
endif()

if(NOT TARGET hiredis::hiredis)
  find_package(hiredis CONFIG QUIET)
endif()

if(TARGET hiredis::hiredis)
  set(hiredis_FOUND TRUE)
  if(NOT hiredis_FIND_QUIETLY)
    message(STATUS "Found hiredis: target hiredis::hiredis ${hiredis_VERSION}")
  endif()
  return()
endif()

find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(redlock_pc_hiredis QUIET hiredis)
endif()

find_path(
  hiredis_INCLUDE_DIR
  NAMES hiredis/hiredis.h
  # A hiredis.pc says .../include/hiredis, while the library is included as <hiredis/hiredis.h>.
  HINTS ${redlock_pc_hiredis_INCLUDEDIR} ${redlock_pc_hiredis_INCLUDE_DIRS}
        "${redlock_pc_hiredis_INCLUDEDIR}/..")
find_library(
  hiredis_LIBRARY
  NAMES hiredis
  HINTS ${redlock_pc_hiredis_LIBDIR} ${redlock_pc_hiredis_LIBRARY_DIRS})
mark_as_advanced(hiredis_INCLUDE_DIR hiredis_LIBRARY)

set(hiredis_VERSION "")
if(hiredis_INCLUDE_DIR)
  file(STRINGS "${hiredis_INCLUDE_DIR}/hiredis/hiredis.h" redlock_hiredis_lines
       REGEX "^#define HIREDIS_(MAJOR|MINOR|PATCH) +[0-9]+")
  if("${redlock_hiredis_lines}" MATCHES "MAJOR +([0-9]+).*MINOR +([0-9]+).*PATCH +([0-9]+)")
    set(hiredis_VERSION "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}.${CMAKE_MATCH_3}")
  endif()
  unset(redlock_hiredis_lines)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  hiredis
  REQUIRED_VARS hiredis_LIBRARY hiredis_INCLUDE_DIR
  VERSION_VAR hiredis_VERSION)

if(hiredis_FOUND)
  add_library(hiredis::hiredis UNKNOWN IMPORTED)
  set_target_properties(
    hiredis::hiredis
    PROPERTIES IMPORTED_LOCATION "${hiredis_LIBRARY}"
               INTERFACE_INCLUDE_DIRECTORIES "${hiredis_INCLUDE_DIR}")
endif()
