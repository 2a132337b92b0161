# Imported targets for libtorch as the Python wheel ships it (headers and
# libraries under LONGLORA_LIBTORCH/torch), without find_package(Torch), which
# would demand a CUDA toolkit.
#
#   libtorch::cpu   c10 and the CPU operators

set(LONGLORA_LIBTORCH "${CMAKE_SOURCE_DIR}/.deps/libtorch" CACHE PATH
    "Folder that holds the unpacked torch wheel (torch/include, torch/lib)")
set(_torch "${LONGLORA_LIBTORCH}/torch")
if(NOT EXISTS "${_torch}/lib/libtorch_cpu.so")
  message(FATAL_ERROR
    "[libtorch] expected ${_torch}/lib/libtorch_cpu.so, found nothing. "
    "Run ./quickstart.sh --build-only, which fetches it, or set LONGLORA_LIBTORCH.")
endif()

foreach(name c10 torch_cpu)
  add_library(libtorch::${name} SHARED IMPORTED)
  set_target_properties(libtorch::${name} PROPERTIES
    IMPORTED_LOCATION "${_torch}/lib/lib${name}.so"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES
      "${_torch}/include;${_torch}/include/torch/csrc/api/include")
endforeach()

# at::parallel_for is a template: it runs in parallel only where the including
# file is compiled with OpenMP.
find_package(OpenMP REQUIRED)
add_library(libtorch::cpu INTERFACE IMPORTED)
# The loader must find libtorch's own needs (libgomp, the CUDA runtime that the
# wheel was linked against) wherever the program is started from.
target_link_libraries(libtorch::cpu INTERFACE libtorch::c10 libtorch::torch_cpu OpenMP::OpenMP_CXX)
target_link_options(libtorch::cpu INTERFACE
  "LINKER:-rpath,${_torch}/lib"
  "LINKER:-rpath,${LONGLORA_LIBTORCH}/nvidia/cu13/lib"
  "LINKER:-rpath-link,${_torch}/lib"
  "LINKER:-rpath-link,${LONGLORA_LIBTORCH}/nvidia/cu13/lib"
  "LINKER:--disable-new-dtags")
