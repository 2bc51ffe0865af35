# libstockpot-cuda.so: one shared library with one exported symbol (native/backend/backend.h). nvcc is
# called directly, not through CMake's CUDA language: that runs test programs when it is configured,
# and does not know a toolkit that was put together from Python wheels (scripts/cuda_toolkit.py).
if(STOCKPOT_CUDA_TOOLKIT)
  set(cuda_root ${STOCKPOT_CUDA_TOOLKIT})
  set(nvcc ${cuda_root}/bin/nvcc)
else()
  find_program(nvcc nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
  if(NOT nvcc)
    message(FATAL_ERROR "nvcc is not found. Install the CUDA toolkit 13, or run "
                        "scripts/cuda_toolkit.py and pass what it prints: "
                        "-DSTOCKPOT_CUDA_TOOLKIT=FOLDER")
  endif()
  get_filename_component(nvcc_real ${nvcc} REALPATH)
  get_filename_component(cuda_root ${nvcc_real} DIRECTORY)
  get_filename_component(cuda_root ${cuda_root} DIRECTORY)
endif()
execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE nvcc_version RESULT_VARIABLE failed)
if(failed OR NOT nvcc_version MATCHES "release ([0-9]+)\\.([0-9]+)")
  message(FATAL_ERROR "${nvcc} does not run")
endif()
if(CMAKE_MATCH_1 LESS 13)
  message(FATAL_ERROR "${nvcc} is of CUDA ${CMAKE_MATCH_1}.${CMAKE_MATCH_2}; 13.0 or newer is needed")
endif()

set(gencode)
foreach(arch ${STOCKPOT_CUDA_ARCHITECTURES})
  list(APPEND gencode -gencode arch=compute_${arch},code=sm_${arch})
  set(last_arch ${arch})
endforeach()
if(NOT last_arch MATCHES "[af]$") # PTX of an architecture's own features runs nowhere else
  list(APPEND gencode -gencode arch=compute_${last_arch},code=compute_${last_arch})
endif()

file(GLOB cuda_headers CONFIGURE_DEPENDS native/kernels/*.h native/kernels/cuda/*.h
     native/kernels/cuda/network/*.h native/kernels/plain/*.h native/backend/*.h
     native/backend/cuda/*.h test/gpu/*.h)

# Adds the object that nvcc makes of SOURCE to OBJECTS.
function(add_cuda_object source objects)
  string(REGEX REPLACE "\\.cu$" ".o" object ${CMAKE_CURRENT_BINARY_DIR}/cuda/${source})
  get_filename_component(folder ${object} DIRECTORY)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${folder}
    # --fmad=false: no product and sum become one operation unless the code says so.
    COMMAND ${nvcc} -std=c++17 -O3 ${gencode} --fmad=false --expt-relaxed-constexpr --threads 2
            -ccbin ${CMAKE_CXX_COMPILER} -Xcompiler
            -fPIC,-fvisibility=hidden,-ffp-contract=off,-Wall -I${cuda_root}/include
            -I${cuda_root}/include/cccl -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
    DEPENDS ${source} ${cuda_headers}
    COMMENT "nvcc ${source}"
    VERBATIM)
  set(${objects} ${${objects}} ${object} PARENT_SCOPE)
endfunction()

file(GLOB_RECURSE kernels CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
     native/kernels/cuda/*.cu)
set(cuda_objects)
foreach(kernel ${kernels})
  add_cuda_object(${kernel} cuda_objects)
endforeach()

find_library(cudart_static cudart_static HINTS ${cuda_root}/lib ${cuda_root}/lib64
             ${cuda_root}/targets/x86_64-linux/lib ${cuda_root}/targets/sbsa-linux/lib
             NO_DEFAULT_PATH)
if(NOT cudart_static)
  message(FATAL_ERROR "libcudart_static.a is not below ${cuda_root}")
endif()
file(GLOB cuda_sources CONFIGURE_DEPENDS native/backend/cuda/*.cc native/kernels/cuda/*.cc)
# What the processor's executor says of a graph holds here too.
list(APPEND cuda_sources native/executor/graph.cc native/executor/memory_plan.cc)
add_library(stockpot-cuda MODULE ${cuda_sources} ${cuda_objects})
set_target_properties(stockpot-cuda PROPERTIES PREFIX lib)
target_include_directories(stockpot-cuda SYSTEM PRIVATE ${cuda_root}/include)
# CUDA's runtime is inside and hidden, as is the C++ library: nothing but the C library is needed.
target_link_libraries(stockpot-cuda PRIVATE ${cudart_static} Threads::Threads ${CMAKE_DL_LIBS} rt)
target_link_options(stockpot-cuda PRIVATE -static-libstdc++ -static-libgcc -Wl,--exclude-libs,ALL
                    -Wl,-z,defs -Wl,--gc-sections
                    -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/cmake/backend.map)

# Tests that call kernels directly; scripts/gpu_suite.sh runs them.
file(GLOB kernel_tests CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} test/gpu/*_test.cu)
foreach(test ${kernel_tests})
  get_filename_component(name ${test} NAME_WE)
  set(test_object)
  add_cuda_object(${test} test_object)
  add_executable(${name} ${test_object} ${cuda_objects})
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX RUNTIME_OUTPUT_DIRECTORY
                        ${CMAKE_CURRENT_BINARY_DIR}/cuda-tests)
  target_link_libraries(${name} PRIVATE stockpot-engine ${cudart_static} ${CMAKE_DL_LIBS} rt)
endforeach()
