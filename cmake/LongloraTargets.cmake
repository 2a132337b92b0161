# One helper each for a room's library, a test and a benchmark.
include_guard()

add_library(longlora_flags INTERFACE)
target_include_directories(longlora_flags INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(longlora_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Werror)
# libtorch's headers bring a newer fmt than Debian's library: where both are in
# reach the bodies have to come from the headers that were included.
target_compile_definitions(longlora_flags INTERFACE FMT_HEADER_ONLY=1)
if(LONGLORA_SANITIZE)
  target_compile_options(longlora_flags INTERFACE
    -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(longlora_flags INTERFACE -fsanitize=address,undefined -fno-sanitize=vptr)
endif()

# The one precompiled header of ATen that all targets share (400 MB and 20 s
# each if every target had its own).
file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/aten_header.cpp" CONTENT "// Carries the precompiled header.\n")
add_library(longlora_aten_header OBJECT "${CMAKE_BINARY_DIR}/aten_header.cpp")
target_link_libraries(longlora_aten_header PRIVATE longlora_flags libtorch::cpu)
target_precompile_headers(longlora_aten_header PRIVATE <ATen/ATen.h>)

# longlora_use_torch(TARGET SCOPE)
#   libtorch and the precompiled header. g++ takes the header only where the code
#   generation flags are the same: give a source that needs others (-mavx512f,
#   -fPIC ...) the property SKIP_PRECOMPILE_HEADERS.
function(longlora_use_torch target scope)
  target_link_libraries(${target} ${scope} libtorch::cpu)
  target_precompile_headers(${target} REUSE_FROM longlora_aten_header)
endfunction()

# longlora_room(NAME SOURCES ... [LINK ...] [TORCH])
#   A static library longlora_NAME. LINK names rooms (longlora_x) and packages;
#   TORCH adds libtorch and the precompiled header of ATen.
function(longlora_room name)
  cmake_parse_arguments(arg "TORCH" "" "SOURCES;LINK" ${ARGN})
  add_library(longlora_${name} STATIC ${arg_SOURCES})
  target_link_libraries(longlora_${name} PUBLIC longlora_flags ${arg_LINK})
  if(arg_TORCH)
    longlora_use_torch(longlora_${name} PUBLIC)
  endif()
endfunction()

# Tests against committed values of other programs have that program in their name, and get the label parity.
set(longlora_parity_names Transformers Peft Bitsandbytes HuggingFace NumPy TorchLoad Golden TensorBoard Package AutoTokenizer
  TokenizersLibrary PythonLibrary RealTrainedModel EqualTheReleased EqualsTheReleased TheReleasedScriptWrites)
list(JOIN longlora_parity_names "|" longlora_parity_regex)

# longlora_test(NAME SOURCES ... [LINK ...] [LABELS ...] [PREFIX ...] [TORCH])
#   A GoogleTest program; every TEST becomes one ctest case. LABELS default to
#   unit; PREFIX stands before the names of its cases. Tests find fixtures under LONGLORA_SOURCE_DIR and the program under
#   LONGLORA_BINARY.
function(longlora_test name)
  cmake_parse_arguments(arg "TORCH" "PREFIX" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE longlora_flags ${arg_LINK} GTest::gtest GTest::gtest_main GTest::gmock)
  target_compile_definitions(${name} PRIVATE
    LONGLORA_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    LONGLORA_BINARY="$<TARGET_FILE_DIR:longlora>/longlora")
  if(arg_TORCH)
    longlora_use_torch(${name} PRIVATE)
  endif()
  include(GoogleTest)
  set(properties LABELS "${arg_LABELS}")
  if(NOT "gpu" IN_LIST arg_LABELS)
    # What is compared bit by bit stays on the CPU where there is a GPU, too.
    list(APPEND properties ENVIRONMENT "CUDA_VISIBLE_DEVICES=-1")
  endif()
  gtest_discover_tests(${name} TEST_PREFIX "${arg_PREFIX}" TEST_LIST ${name}_cases DISCOVERY_TIMEOUT 60
    PROPERTIES ${properties})
  # ctest reads this behind the list of cases: gtest_discover_tests itself takes one label alone.
  set(labels_file "${CMAKE_CURRENT_BINARY_DIR}/${name}_labels.cmake")
  file(CONFIGURE OUTPUT "${labels_file}" @ONLY CONTENT [[
foreach(case IN LISTS @name@_cases)
  if(case MATCHES "@longlora_parity_regex@")
    set_tests_properties("${case}" PROPERTIES LABELS "@arg_LABELS@;parity")
  endif()
endforeach()
]])
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${labels_file}")
endfunction()

# longlora_device_test(ROOM SOURCES ... [LINK ...])
#   Tests that compare libtorch's operators with the CPU kernels, twice: ROOM_device_test runs the operators on
#   the CPU, ROOM_gpu_test (label gpu) on a GPU and skips itself where there is none.
function(longlora_device_test room)
  longlora_test(${room}_device_test TORCH ${ARGN})
  longlora_test(${room}_gpu_test TORCH ${ARGN} LABELS gpu PREFIX Gpu.)
  target_compile_definitions(${room}_gpu_test PRIVATE LONGLORA_TEST_GPU)
endfunction()

# longlora_benchmark(NAME SOURCES ... [LINK ...] [TORCH])
#   A Google Benchmark program.
function(longlora_benchmark name)
  cmake_parse_arguments(arg "TORCH" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE longlora_flags ${arg_LINK} benchmark::benchmark)
  if(arg_TORCH)
    longlora_use_torch(${name} PRIVATE)
  endif()
endfunction()
