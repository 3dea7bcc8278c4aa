# SPDX-License-Identifier: Apache-2.0
# Install rules: headers, CMake package, pkg-config file, licence; all in the component redlock-dev. Nothing in
# them depends on the architecture but the compiled library, where it is built. The build tree is a CMake
# package too: -Dredlock_DIR=<build tree>.

include(CMakePackageConfigHelpers)

set(REDLOCK_INSTALL_CMAKEDIR
    "${CMAKE_INSTALL_LIBDIR}/cmake/redlock"
    CACHE STRING "Where redlock-config.cmake is installed")
set(REDLOCK_INSTALL_PKGCONFIGDIR
    "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
    CACHE STRING "Where redlock.pc is installed")
mark_as_advanced(REDLOCK_INSTALL_CMAKEDIR REDLOCK_INSTALL_PKGCONFIGDIR)

install(
  DIRECTORY "${PROJECT_SOURCE_DIR}/include/redlock"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  COMPONENT redlock-dev
  FILES_MATCHING
  PATTERN "*.hpp")

install(TARGETS redlock EXPORT redlock-targets)
install(
  EXPORT redlock-targets
  NAMESPACE redlock::
  DESTINATION "${REDLOCK_INSTALL_CMAKEDIR}"
  COMPONENT redlock-dev)
export(
  EXPORT redlock-targets
  NAMESPACE redlock::
  FILE "${PROJECT_BINARY_DIR}/redlock-targets.cmake")

if(TARGET redlock_compiled)
  install(
    TARGETS redlock_compiled
    EXPORT redlock-compiled-targets
    RUNTIME COMPONENT redlock
    LIBRARY COMPONENT redlock NAMELINK_COMPONENT redlock-dev
    ARCHIVE COMPONENT redlock-dev)
  install(
    EXPORT redlock-compiled-targets
    NAMESPACE redlock::
    DESTINATION "${REDLOCK_INSTALL_CMAKEDIR}"
    COMPONENT redlock-dev)
  export(
    EXPORT redlock-compiled-targets
    NAMESPACE redlock::
    FILE "${PROJECT_BINARY_DIR}/redlock-compiled-targets.cmake")
  set(redlock_arch "")
else()
  set(redlock_arch ARCH_INDEPENDENT)
endif()

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/redlock-config.cmake.in"
  "${PROJECT_BINARY_DIR}/redlock-config.cmake"
  INSTALL_DESTINATION "${REDLOCK_INSTALL_CMAKEDIR}"
  NO_SET_AND_CHECK_MACRO)
# In 0.x every minor version may break what the one before it promised.
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/redlock-config-version.cmake"
  COMPATIBILITY SameMinorVersion ${redlock_arch})
install(
  FILES "${PROJECT_BINARY_DIR}/redlock-config.cmake"
        "${PROJECT_BINARY_DIR}/redlock-config-version.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/Findhiredis.cmake"
  DESTINATION "${REDLOCK_INSTALL_CMAKEDIR}"
  COMPONENT redlock-dev)
configure_file("${PROJECT_SOURCE_DIR}/cmake/Findhiredis.cmake" "${PROJECT_BINARY_DIR}/Findhiredis.cmake" COPYONLY)

install(
  FILES "${PROJECT_SOURCE_DIR}/LICENSE"
  DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/licenses/redlock"
  COMPONENT redlock-dev)

# The way back from redlock.pc to the prefix, so that an installed tree can be moved.
if(IS_ABSOLUTE "${REDLOCK_INSTALL_PKGCONFIGDIR}"
   OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}"
   OR IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(redlock_pc_prefix "${CMAKE_INSTALL_PREFIX}")
  set(redlock_pc_includedir "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
  set(redlock_pc_libdir "${CMAKE_INSTALL_FULL_LIBDIR}")
else()
  file(RELATIVE_PATH redlock_pc_up "/prefix/${REDLOCK_INSTALL_PKGCONFIGDIR}" "/prefix")
  string(REGEX REPLACE "/$" "" redlock_pc_up "${redlock_pc_up}")
  set(redlock_pc_prefix "\${pcfiledir}/${redlock_pc_up}")
  set(redlock_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
  set(redlock_pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/redlock.pc.in" "${PROJECT_BINARY_DIR}/redlock.pc" @ONLY)
install(
  FILES "${PROJECT_BINARY_DIR}/redlock.pc"
  DESTINATION "${REDLOCK_INSTALL_PKGCONFIGDIR}"
  COMPONENT redlock-dev)
if(TARGET redlock_compiled)
  get_target_property(redlock_compiled_type redlock_compiled TYPE)
  # What a static library needs is linked by its user, what a shared one needs is not.
  if(redlock_compiled_type STREQUAL "STATIC_LIBRARY")
    set(redlock_pc_requires "Requires: hiredis")
  else()
    set(redlock_pc_requires "Requires.private: hiredis")
  endif()
  configure_file("${PROJECT_SOURCE_DIR}/cmake/redlock-compiled.pc.in" "${PROJECT_BINARY_DIR}/redlock-compiled.pc"
                 @ONLY)
  install(
    FILES "${PROJECT_BINARY_DIR}/redlock-compiled.pc"
    DESTINATION "${REDLOCK_INSTALL_PKGCONFIGDIR}"
    COMPONENT redlock-dev)
endif()
