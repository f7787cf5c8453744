# Target `tidy`: clang-tidy (.clang-tidy) over what needs no MLIR; minutes on many cores, so it is part of no test.
find_program(MOEC_RUN_CLANG_TIDY NAMES run-clang-tidy-22 run-clang-tidy)
find_program(MOEC_CLANG_TIDY NAMES clang-tidy-22 clang-tidy)
if(MOEC_RUN_CLANG_TIDY AND MOEC_CLANG_TIDY)
  add_custom_target(tidy
    COMMAND ${MOEC_RUN_CLANG_TIDY} -clang-tidy-binary ${MOEC_CLANG_TIDY} -p ${PROJECT_BINARY_DIR} -quiet
            "^${PROJECT_SOURCE_DIR}/(compiler/(core|jit)|ir/reference|runtime|tools)/"
    USES_TERMINAL VERBATIM)
endif()
