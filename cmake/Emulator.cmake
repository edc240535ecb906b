# SPEARFISH_EMULATE_CUDA: kernels as C++ for the emulated device of emulator/. Only the toolkit's headers are needed.
find_path(SPEARFISH_CUDA_INCLUDE cuda_fp8.h
  HINTS $ENV{CUDA_HOME}/include ${PROJECT_SOURCE_DIR}/.toolkit/cuda/include /usr/local/cuda/include)
if(NOT SPEARFISH_CUDA_INCLUDE)
  message(FATAL_ERROR "SPEARFISH_EMULATE_CUDA needs the headers of a CUDA toolkit. Run scripts/setup cuda, or set SPEARFISH_CUDA_INCLUDE.")
endif()
file(STRINGS ${SPEARFISH_CUDA_INCLUDE}/cuda.h version REGEX "#define CUDA_VERSION [0-9]+")
string(REGEX MATCH "[0-9]+$" version "${version}")
math(EXPR major "${version} / 1000")
math(EXPR minor "${version} % 1000 / 10")
set(SPEARFISH_TOOLKIT "${major}.${minor}")
set(SPEARFISH_CUDA ON)
set(SPEARFISH_CUDART spearfish_emulated_cuda)
set(CUDAToolkit_INCLUDE_DIRS ${SPEARFISH_CUDA_INCLUDE})
# There is no GPU to ask.
if(SPEARFISH_CUDA_ARCHS STREQUAL "native")
  set(SPEARFISH_CUDA_ARCHS "9.0a")
endif()
# The device that a run pretends unless SPEARFISH_EMULATED_DEVICE says otherwise: of the first target in the list.
string(REGEX MATCH "([0-9]+)\\.?([0-9])" first "${SPEARFISH_CUDA_ARCHS}")
set(SPEARFISH_EMULATED_TARGET "sm_${CMAKE_MATCH_1}${CMAKE_MATCH_2}")

# Compiles CUDA sources of a target as C++. One translation serves every target in `flags`: the oldest one's code.
function(spearfish_emulate name flags)
  string(REGEX MATCHALL "arch=compute_[0-9]+" archs "${flags}")
  set(oldest 999)
  foreach(arch IN LISTS archs)
    string(REGEX MATCH "[0-9]+" number "${arch}")
    if(number LESS oldest)
      set(oldest ${number})
    endif()
  endforeach()
  # Rounding is the kernels' own affair (no contraction), and their warnings are nvcc's.
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS
    "-DSPF_EMULATED;-DSPF_EMULATED_ARCH=${oldest}0;-include;${PROJECT_SOURCE_DIR}/emulator/cuda.hpp;-O2;-mavx2;-mfma;-mf16c;-ffp-contract=off;-ftls-model=initial-exec;-w")
  target_link_libraries(${name} PRIVATE ${SPEARFISH_CUDART})
endfunction()
