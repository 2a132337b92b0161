# Runs while installing (Install.cmake): `part` names the component, `program` the program that was built,
# `libtorch` the folder of the unpacked wheels, `libraries` the folder below the prefix.
cmake_minimum_required(VERSION 3.25)
set(prefix "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")

# What the program needs of other libraries, and they in turn. Their paths are made plain.
function(find_needed libraries_variable)
  file(GET_RUNTIME_DEPENDENCIES EXECUTABLES "${program}" RESOLVED_DEPENDENCIES_VAR found
    UNRESOLVED_DEPENDENCIES_VAR missing)
  if(missing)
    message(FATAL_ERROR "[install] expected all libraries that ${program} needs, found no ${missing}")
  endif()
  set(plain "")
  foreach(library IN LISTS found)
    cmake_path(NORMAL_PATH library)
    list(APPEND plain "${library}")
  endforeach()
  set(${libraries_variable} "${plain}" PARENT_SCOPE)
endfunction()

# The file itself under the name by which it is needed, which may be that of a link.
function(install_library library folder)
  cmake_path(GET library FILENAME name)
  file(REAL_PATH "${library}" file)
  file(INSTALL DESTINATION "${folder}" TYPE PROGRAM FILES "${file}" RENAME "${name}")
endfunction()

if(part STREQUAL "program")
  set(installed "${prefix}/bin/longlora")
  file(RPATH_SET FILE "${installed}" NEW_RPATH "$ORIGIN/../${libraries}:$ORIGIN/../${libraries}/torch/lib")
  if(CMAKE_INSTALL_DO_STRIP)
    execute_process(COMMAND strip "${installed}" COMMAND_ERROR_IS_FATAL ANY)
  endif()
  set(completions "${prefix}/share/bash-completion/completions")
  file(MAKE_DIRECTORY "${completions}")
  execute_process(COMMAND "${program}" completion bash OUTPUT_FILE "${completions}/longlora"
    COMMAND_ERROR_IS_FATAL ANY)
  message(STATUS "Installing: ${completions}/longlora")
else()
  find_needed(needed)
  if(EXISTS "${libtorch}/torch/lib/libtorch_cuda.so")  # all that a GPU takes is loaded by name at run time
    file(GLOB cuda "${libtorch}/torch/lib/*.so*" "${libtorch}/nvidia/*/lib/*.so*")
    list(APPEND needed ${cuda})
    list(REMOVE_DUPLICATES needed)
  endif()
  foreach(library IN LISTS needed)
    cmake_path(IS_PREFIX libtorch "${library}" is_libtorch)
    cmake_path(GET library FILENAME name)
    if(is_libtorch AND part STREQUAL "libtorch")
      cmake_path(RELATIVE_PATH library BASE_DIRECTORY "${libtorch}" OUTPUT_VARIABLE place)
      cmake_path(GET place PARENT_PATH place)
      install_library("${library}" "${prefix}/${libraries}/${place}")
    elseif(NOT is_libtorch AND part STREQUAL "system_libraries" AND
        NOT name MATCHES "^(ld-linux.*|lib(c|m|dl|rt|util|pthread|gcc_s|stdc\\+\\+))\\.so")
      install_library("${library}" "${prefix}/${libraries}")
    endif()
  endforeach()
endif()
