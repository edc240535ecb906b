# Copies the tree, builds the CPU library, adds a kernel to the norm family (its manifest, one new file), builds again, and
# calls it. Fails if anything but the two files had to change, if anything but the table and the new file was compiled, or
# if the new kernel does not run.
#
#   cmake -DSOURCE=tree -DWORK=scratch folder -DGENERATOR=... -DCXX=... -DCC=... -P add_a_kernel.cmake
cmake_minimum_required(VERSION 3.25)
set(tree ${WORK}/tree)
set(build ${WORK}/build)
file(REMOVE_RECURSE ${WORK})
foreach(part CMakeLists.txt cmake include src kernels arch tools LICENSE)
  if(EXISTS ${SOURCE}/${part})
    file(COPY ${SOURCE}/${part} DESTINATION ${tree})
  endif()
endforeach()

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(failed)
    message(FATAL_ERROR "${what} failed:\n${text}")
  endif()
  set(output "${text}" PARENT_SCOPE)
endfunction()

function(digest out)
  file(GLOB_RECURSE files RELATIVE ${tree} ${tree}/*)
  list(SORT files)
  set(all)
  foreach(file IN LISTS files)
    file(SHA256 ${tree}/${file} hash)
    list(APPEND all "${file}=${hash}")
  endforeach()
  set(${out} "${all}" PARENT_SCOPE)
endfunction()

# The copy has another absolute path each time it is made; let the compiler cache see through that.
set(ENV{CCACHE_BASEDIR} ${WORK})
set(ENV{CCACHE_NOHASHDIR} 1)

digest(before)
run("configuring" ${CMAKE_COMMAND} -S ${tree} -B ${build} -G ${GENERATOR} -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS=-O0
  -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_C_COMPILER=${CC} -DSPEARFISH_TESTS=OFF -DSPEARFISH_CLI=OFF)
run("building" ${CMAKE_COMMAND} --build ${build} --target spearfish --parallel 2)

# The kernel: one row and one file.
file(APPEND ${tree}/kernels/norm/kernels.toml [=[

[[kernel]]
op     = "rms_norm"
name   = "toy_marker"
file   = "toy_marker.cpp"
launch = "toy_marker"
]=])
file(WRITE ${tree}/kernels/norm/toy_marker.cpp [=[
#include "core/call.hpp"

namespace spf::norm {

// Writes 42 into the first element, so that a caller sees who ran.
spf_status toy_marker(const Call& call, const LaunchContext&) {
  *static_cast<float*>(call.operand("out")->data) = 42.0f;
  return SPF_OK;
}

}  // namespace spf::norm
]=])
digest(after)
set(changed)
foreach(entry IN LISTS after)
  if(NOT entry IN_LIST before)
    string(REGEX REPLACE "=.*" "" entry "${entry}")
    list(APPEND changed ${entry})
  endif()
endforeach()
if(NOT changed STREQUAL "kernels/norm/kernels.toml;kernels/norm/toy_marker.cpp")
  message(FATAL_ERROR "adding a kernel touched: ${changed}")
endif()

# No explicit configure step: the build notices the manifest by itself.
run("building with the new kernel" ${CMAKE_COMMAND} --build ${build} --target spearfish --parallel 2)
string(REGEX MATCHALL "Building [A-Z]+ object [^\n]*" compiled "${output}")
set(names)
foreach(line IN LISTS compiled)
  string(REGEX REPLACE ".*/([^/]*)\\.o$" "\\1" name "${line}")
  list(APPEND names ${name})
endforeach()
list(SORT names)
if(NOT names STREQUAL "table.cpp;toy_marker.cpp")
  message(FATAL_ERROR "adding a kernel recompiled: ${names}")
endif()

# A caller asks for it by name.
file(WRITE ${WORK}/caller.c [=[
#include <stdio.h>
#include <string.h>

#include "spearfish/plan.h"

int main(void) {
  float x[4] = {1, 2, 3, 4}, out[4] = {0, 0, 0, 0};
  int64_t shape[2] = {1, 4};
  spf_device cpu = {SPF_CPU, 0};
  spf_tensor tx, tout;
  spf_launch launch;
  spf_op_info op;
  spf_operand_info info;
  const spf_tensor* operands[8] = {0};
  spf_plan_options options;
  int32_t i;
  memset(&options, 0, sizeof(options));
  memset(&op, 0, sizeof(op));
  memset(&info, 0, sizeof(info));
  options.struct_size = sizeof(options);
  options.require_kernel = "norm/toy_marker";
  op.struct_size = sizeof(op);
  info.struct_size = sizeof(info);
  spf_tensor_init(&tx, x, SPF_F32, 2, shape, cpu);
  spf_tensor_init(&tout, out, SPF_F32, 2, shape, cpu);
  spf_launch_init(&launch, cpu);
  launch.options = &options;
  for (i = 0; spf_op_describe(i, &op) == SPF_OK; ++i)
    if (strcmp(op.name, "rms_norm") == 0) break;
  for (i = 0; i < op.operand_count; ++i) {
    spf_op_operand("rms_norm", i, &info);
    if (strcmp(info.name, "x") == 0) operands[i] = &tx;
    if (strcmp(info.name, "out") == 0) operands[i] = &tout;
  }
  if (spf_op_call("rms_norm", operands, op.operand_count, NULL, 0, NULL, &launch) != SPF_OK) return 1;
  printf("%g\n", out[0]);
  return out[0] == 42.0f ? 0 : 1;
}
]=])
run("compiling a caller" ${CC} -I${tree}/include -o ${WORK}/caller ${WORK}/caller.c -L${build} -lspearfish -Wl,-rpath,${build})
run("calling the new kernel" ${WORK}/caller)
file(REMOVE_RECURSE ${WORK})
