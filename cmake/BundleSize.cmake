# Run by CPack with what it packed: refuses a bundle of more than 40 MB.
foreach(package IN LISTS CPACK_PACKAGE_FILES)
  file(SIZE ${package} bytes)
  if(bytes GREATER 40000000)
    file(REMOVE ${package})
    message(FATAL_ERROR "${package} has ${bytes} bytes, more than 40 MB: something is linked in, or left unstripped, that should not be")
  endif()
endforeach()
