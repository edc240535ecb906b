# Finds what is installed and says plainly what is missing. scripts/setup installs all of it.
function(spearfish_need found package debian why)
  if(NOT ${found})
    message(FATAL_ERROR "Spearfish needs ${package} (${why}). Install it with: apt-get install ${debian}, or run scripts/setup.")
  endif()
endfunction()

find_package(OpenMP QUIET COMPONENTS CXX)
spearfish_need(OpenMP_CXX_FOUND OpenMP "libgomp1 (part of g++)" "threads of the CPU kernels")

find_path(TOMLPLUSPLUS_INCLUDE toml++/toml.h)
spearfish_need(TOMLPLUSPLUS_INCLUDE toml++ libtomlplusplus-dev "manifests are TOML")

find_path(DLPACK_INCLUDE dlpack/dlpack.h)
spearfish_need(DLPACK_INCLUDE dlpack libdlpack-dev "DLPack import and export")

# Headers of others that some kernels are compiled with; arch/arch.toml says what adds them. Without one, its kernels stay
# out of the build, and the coverage table says so.
set(SPEARFISH_PACKAGES "")
find_path(CUTLASS_INCLUDE cutlass/gemm/collective/collective_builder.hpp PATHS ${PROJECT_SOURCE_DIR}/.toolkit/cutlass/include)
if(SPEARFISH_EMULATE_CUDA) # kernels have a stand-in for it there
  set(SPEARFISH_PACKAGES cutlass)
elseif(CUTLASS_INCLUDE)
  file(READ ${CUTLASS_INCLUDE}/cutlass/version.h text)
  string(REGEX MATCH "define CUTLASS_MAJOR +([0-9]+)" major "${text}")
  set(major ${CMAKE_MATCH_1})
  string(REGEX MATCH "define CUTLASS_MINOR +([0-9]+)" minor "${text}")
  set(minor ${CMAKE_MATCH_1})
  if("${major}.${minor}" VERSION_GREATER_EQUAL 4.2)
    list(APPEND SPEARFISH_PACKAGES cutlass)
    set(SPEARFISH_INCLUDE_cutlass ${CUTLASS_INCLUDE})
  else()
    message(STATUS "CUTLASS ${major}.${minor} in ${CUTLASS_INCLUDE} is too old; 4.2 is the oldest that works")
  endif()
endif()

if(SPEARFISH_CLI OR SPEARFISH_TESTS)
  find_package(fmt QUIET)
  spearfish_need(fmt_FOUND fmt libfmt-dev "text output of the command line")
  find_package(CLI11 QUIET)
  spearfish_need(CLI11_FOUND CLI11 libcli11-dev "the command line")
  find_package(nlohmann_json QUIET)
  spearfish_need(nlohmann_json_FOUND nlohmann-json nlohmann-json3-dev "JSON output")
endif()
if(SPEARFISH_TESTS)
  find_package(GTest QUIET)
  spearfish_need(GTest_FOUND GoogleTest libgtest-dev "the tests")
endif()
