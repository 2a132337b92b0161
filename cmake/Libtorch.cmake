# Imported targets for libtorch as the Python wheel ships it (headers and
# libraries under LONGLORA_LIBTORCH/torch), without find_package(Torch), which
# would demand a CUDA toolkit.
#
#   libtorch::cpu   c10, the CPU operators and the OpenMP runtime they use

set(LONGLORA_LIBTORCH "${CMAKE_SOURCE_DIR}/.deps/libtorch" CACHE PATH
    "Folder that holds the unpacked torch wheel (torch/include, torch/lib)")
set(_torch "${LONGLORA_LIBTORCH}/torch")
if(NOT EXISTS "${_torch}/lib/libtorch_cpu.so")
  message(FATAL_ERROR
    "[libtorch] expected ${_torch}/lib/libtorch_cpu.so, found nothing. "
    "Run ./quickstart.sh --build-only, which fetches it, or set LONGLORA_LIBTORCH.")
endif()

# gomp is the wheel's own copy: a program that linked the compiler's as well
# would have two of the same name to choose from.
foreach(name IN ITEMS c10:libc10.so torch_cpu:libtorch_cpu.so gomp:libgomp.so.1)
  string(REGEX MATCH "^([^:]+):(.+)$" _ "${name}")
  add_library(libtorch::${CMAKE_MATCH_1} SHARED IMPORTED)
  set_target_properties(libtorch::${CMAKE_MATCH_1} PROPERTIES
    IMPORTED_LOCATION "${_torch}/lib/${CMAKE_MATCH_2}")
endforeach()

add_library(libtorch::cpu INTERFACE IMPORTED)
target_include_directories(libtorch::cpu SYSTEM INTERFACE
  "${_torch}/include" "${_torch}/include/torch/csrc/api/include")
# at::parallel_for is a template: it runs in parallel only where the including
# file is compiled with OpenMP.
target_compile_options(libtorch::cpu INTERFACE -fopenmp)
target_link_libraries(libtorch::cpu INTERFACE libtorch::c10 libtorch::torch_cpu libtorch::gomp)
# CMake writes the folder of the libraries into what it links; libtorch_cpu.so itself names the folder of its
# own needs, the CUDA runtime that the wheel was linked against. The old kind of tag holds for the libraries that
# libraries need, too.
target_link_options(libtorch::cpu INTERFACE
  "LINKER:-rpath-link,${_torch}/lib"
  "LINKER:-rpath-link,${LONGLORA_LIBTORCH}/nvidia/cu13/lib"
  "LINKER:--disable-new-dtags")
