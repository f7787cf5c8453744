# Target `format`: clang-format (.clang-format) over all sources. Part of no test: other versions of it wrap otherwise.
find_program(MOEC_CLANG_FORMAT NAMES clang-format-22)
if(MOEC_CLANG_FORMAT)
  add_custom_target(format
    COMMAND git ls-files -z "*.h" "*.cpp" "*.cuh" | xargs -0 ${MOEC_CLANG_FORMAT} -i
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
endif()
