# Builds kernelgen with the host compiler when configuring, runs it, and makes targets of what it wrote.
#
#   spearfish_generate(ARCHS <list> TOOLKIT <version or empty> OUT <folder> [FAMILY <name>] [INSTANCES <most of a kernel>])
#
# sets SPEARFISH_KERNEL_OBJECTS (objects of every kernel and of the dispatch table) and SPEARFISH_KERNELGEN (the program) in
# the caller's scope. The coverage table is printed when configuring ends. A changed manifest, arch.toml or generator
# source makes the next build configure again.

# One object library per set of compiler flags; called from the generated targets.cmake.
function(spearfish_kernel_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LANGUAGE" "FLAGS;PACKAGES;SOURCES")
  add_library(${name} OBJECT ${arg_SOURCES})
  set_source_files_properties(${arg_SOURCES} PROPERTIES LANGUAGE ${arg_LANGUAGE})
  target_include_directories(${name} PRIVATE ${SPEARFISH_GEN_ROOT} ${SPEARFISH_GEN_ROOT}/src ${SPEARFISH_GEN_ROOT}/include)
  target_compile_definitions(${name} PRIVATE SPF_BUILDING)
  target_link_libraries(${name} PRIVATE spearfish_warnings)
  if(arg_LANGUAGE STREQUAL "CUDA" AND SPEARFISH_EMULATE_CUDA)
    spearfish_emulate(${name} "${arg_FLAGS}" ${arg_SOURCES})
  elseif(arg_LANGUAGE STREQUAL "CUDA")
    set_target_properties(${name} PROPERTIES CUDA_ARCHITECTURES OFF)
    target_compile_options(${name} PRIVATE ${arg_FLAGS})
    # Machine code packed for size, a sixth of it; every driver that runs this toolkit's code can unpack it.
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)
      target_compile_options(${name} PRIVATE -compress-mode=size)
    endif()
    target_link_libraries(${name} PRIVATE ${SPEARFISH_CUDART})
    foreach(package IN LISTS arg_PACKAGES)
      target_include_directories(${name} SYSTEM PRIVATE ${SPEARFISH_INCLUDE_${package}})
      target_compile_options(${name} PRIVATE --expt-relaxed-constexpr)
    endforeach()
  else()
    target_compile_options(${name} PRIVATE ${arg_FLAGS})
    target_link_libraries(${name} PRIVATE OpenMP::OpenMP_CXX)
  endif()
  set(SPEARFISH_KERNEL_OBJECTS ${SPEARFISH_KERNEL_OBJECTS} $<TARGET_OBJECTS:${name}> PARENT_SCOPE)
endfunction()

# Compiles the generator if its sources changed. Sets ${out} to the program.
function(spearfish_build_kernelgen out)
  set(folder ${PROJECT_BINARY_DIR}/kernelgen)
  set(source ${PROJECT_SOURCE_DIR}/tools/kernelgen)
  file(GLOB inputs CONFIGURE_DEPENDS ${source}/* ${PROJECT_SOURCE_DIR}/src/arch/*)
  list(APPEND inputs ${PROJECT_SOURCE_DIR}/src/core/schema.hpp ${PROJECT_SOURCE_DIR}/include/spearfish/types.h
    ${PROJECT_SOURCE_DIR}/include/spearfish/device.h)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${inputs})
  set(launcher)
  if(CMAKE_CXX_COMPILER_LAUNCHER)
    string(REPLACE ";" "\\;" launcher "-DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}")
  endif()
  execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${source} -B ${folder} -G ${CMAKE_GENERATOR} -DCMAKE_BUILD_TYPE=
      -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER} -DCMAKE_CXX_FLAGS=-O0 ${launcher} -DTOMLPLUSPLUS_INCLUDE=${TOMLPLUSPLUS_INCLUDE}
    RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT failed)
    execute_process(COMMAND ${CMAKE_COMMAND} --build ${folder} --parallel
      RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
  endif()
  if(failed)
    message(FATAL_ERROR "kernelgen does not build:\n${text}")
  endif()
  set(${out} ${folder}/kernelgen${CMAKE_EXECUTABLE_SUFFIX} PARENT_SCOPE)
endfunction()

# Prints a file; run when the configure step ends.
function(spearfish_print_coverage file)
  file(READ ${file} text)
  message(STATUS "${text}")
endfunction()

function(spearfish_generate)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "ARCHS;TOOLKIT;OUT;FAMILY;INSTANCES" "")
  spearfish_build_kernelgen(kernelgen)
  file(GLOB manifests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*/kernels.toml)
  # Headers whose presence decides what the table includes, and sources that manifests name, are checked by kernelgen.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${manifests} ${SPEARFISH_EXTRA_KERNELS}
    ${PROJECT_SOURCE_DIR}/arch/arch.toml)
  set(extra)
  foreach(file IN LISTS SPEARFISH_EXTRA_KERNELS)
    list(APPEND extra --extra ${file})
  endforeach()
  list(APPEND extra "--packages=${SPEARFISH_PACKAGES}")
  if(SPEARFISH_SHARE_CODE)
    list(APPEND extra --share)
  endif()
  if(arg_INSTANCES)
    list(APPEND extra --instances ${arg_INSTANCES})
  endif()
  if(arg_FAMILY)
    list(APPEND extra --family ${arg_FAMILY})
  endif()
  execute_process(
    COMMAND ${kernelgen} --root ${PROJECT_SOURCE_DIR} "--archs=${arg_ARCHS}" "--toolkit=${arg_TOOLKIT}" --out ${arg_OUT} ${extra}
    RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE text)
  if(failed)
    message(FATAL_ERROR "The manifests do not resolve:\n${text}")
  endif()
  set(SPEARFISH_GEN_OUT ${arg_OUT})
  set(SPEARFISH_GEN_ROOT ${PROJECT_SOURCE_DIR})
  set(SPEARFISH_KERNEL_OBJECTS)
  include(${arg_OUT}/targets.cmake)
  set(SPEARFISH_KERNEL_OBJECTS ${SPEARFISH_KERNEL_OBJECTS} PARENT_SCOPE)
  set(SPEARFISH_KERNELGEN ${kernelgen} PARENT_SCOPE)
  cmake_language(EVAL CODE "cmake_language(DEFER DIRECTORY [[${PROJECT_SOURCE_DIR}]] CALL spearfish_print_coverage [[${arg_OUT}/coverage.txt]])")
endfunction()
