# Writes OUT: the text of each of FILES (relative to ROOT) as a raw string, named as the kernels include it. They are what
# FUNCTION (embeddedKernels if not given) returns.
if(NOT FUNCTION)
  set(FUNCTION embeddedKernels)
endif()
set(text "// Made by EmbedKernels.cmake from device code.\n#include \"compiler/jit/EmbeddedKernels.h\"\n\n")
string(APPEND text "namespace moec {\nnamespace {\n\nconstexpr EmbeddedHeader headers[] = {\n")
foreach(file IN LISTS FILES)
  file(READ ${ROOT}/${file} body)
  string(APPEND text "    {\"${file}\", R\"moecKernel(${body})moecKernel\"},\n")
endforeach()
string(APPEND text "};\n\n} // namespace\n\n")
string(APPEND text "std::span<const EmbeddedHeader> ${FUNCTION}() { return headers; }\n\n} // namespace moec\n")
file(WRITE ${OUT} "${text}")
