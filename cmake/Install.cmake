# What `cmake --install` puts where: library, headers, command, and how CMake and pkg-config projects find them.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(SPEARFISH_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/spearfish)

# Two export sets: who links the shared library needs neither OpenMP nor a CUDA toolkit of their own.
set_target_properties(spearfish_static PROPERTIES EXPORT_NAME static)
install(TARGETS spearfish EXPORT spearfish_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS spearfish_static EXPORT spearfish_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT spearfish_shared NAMESPACE spearfish:: FILE spearfishTargets.cmake DESTINATION ${SPEARFISH_PACKAGE_DIR})
install(EXPORT spearfish_static NAMESPACE spearfish:: FILE spearfishStaticTargets.cmake DESTINATION ${SPEARFISH_PACKAGE_DIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/spearfish DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

if(TARGET spearfish_cli)
  file(RELATIVE_PATH to_library ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
  set_target_properties(spearfish_cli PROPERTIES INSTALL_RPATH $ORIGIN/${to_library})
  install(TARGETS spearfish_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/spearfishConfig.cmake.in ${PROJECT_BINARY_DIR}/spearfishConfig.cmake
  INSTALL_DESTINATION ${SPEARFISH_PACKAGE_DIR} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the ABI, and so does the soname.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/spearfishConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/spearfishConfig.cmake ${PROJECT_BINARY_DIR}/spearfishConfigVersion.cmake
  DESTINATION ${SPEARFISH_PACKAGE_DIR})

# pkg-config: relative to where the file lies, so that a moved prefix still works. Libs.private is for --static.
file(RELATIVE_PATH SPEARFISH_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" SPEARFISH_PC_PREFIX "${SPEARFISH_PC_PREFIX}")
set(SPEARFISH_PC_PRIVATE "-lstdc++ -lm -lgomp -lpthread")
if(SPEARFISH_CUDA)
  string(APPEND SPEARFISH_PC_PRIVATE " -lcudart_static -ldl -lrt")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/spearfish.pc.in ${PROJECT_BINARY_DIR}/spearfish.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/spearfish.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
