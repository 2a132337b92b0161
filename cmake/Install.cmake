# What `cmake --install` puts below a prefix. The whole can be moved: the program finds libtorch relative to itself.
#
#   component         what and where
#   program           bin/longlora and its completion for bash
#   libtorch          lib/longlora/torch, lib/longlora/nvidia: the libraries of the wheels that the program loads
#   documentation     share/doc/longlora, with licences
#   model             share/longlora/models: the embedded model and its data
#   system_libraries  lib/longlora: the system's libraries that other systems lack or have in other versions; put
#                     there only when asked for by name, as scripts/package.sh does
set(_libraries lib/longlora)
set(_documents share/doc/longlora)
# The paths of the installed program take the place of the build's, so these may not be shorter. CMake's own way, the
# property INSTALL_RPATH, ends the build's with an empty path, and the loader takes that for the current folder.
set_target_properties(longlora PROPERTIES BUILD_RPATH "${LONGLORA_LIBTORCH}/nvidia/cu13/lib")
install(PROGRAMS $<TARGET_FILE:longlora> DESTINATION bin COMPONENT program)

# longlora_install_step(PART [EXCLUDE_FROM_ALL])
#   Has cmake/InstallStep.cmake do its part of the work while installing.
function(longlora_install_step part)
  install(CODE "
    set(part ${part})
    set(program \"$<TARGET_FILE:longlora>\")
    set(libtorch \"${LONGLORA_LIBTORCH}\")
    set(libraries \"${_libraries}\")
    include(\"${CMAKE_SOURCE_DIR}/cmake/InstallStep.cmake\")" COMPONENT ${part} ${ARGN})
endfunction()
longlora_install_step(program)
longlora_install_step(libtorch)
longlora_install_step(system_libraries EXCLUDE_FROM_ALL)

install(FILES README.md LICENSE DESTINATION ${_documents} COMPONENT documentation)
install(DIRECTORY docs DESTINATION ${_documents} COMPONENT documentation FILES_MATCHING PATTERN "*.md" PATTERN "*.png")
file(GLOB _packages RELATIVE "${LONGLORA_LIBTORCH}" "${LONGLORA_LIBTORCH}/*.dist-info")
foreach(package IN LISTS _packages)
  string(REPLACE ".dist-info" "" name "${package}")
  install(DIRECTORY "${LONGLORA_LIBTORCH}/${package}/licenses/" DESTINATION "${_documents}/licenses/${name}"
    COMPONENT documentation)
endforeach()
install(DIRECTORY models/tiny-novels DESTINATION share/longlora/models COMPONENT model
  PATTERN "*.py" EXCLUDE PATTERN recipe EXCLUDE PATTERN __pycache__ EXCLUDE)
