# The portable bundle: what a machine without LLVM needs to run, check and measure moec on its GPU, as one archive with the folder
# moec-bundle in it. `tools/bundle`, or `cpack --preset release`, packs what is built; docs/gpu-sessions.md says what is there.
#
# LLVM is linked in. Of glibc and GCC's runtime every machine has its own, which its other tools need as new as it is.
set(component bundle)
set(programs moec moec-trace moec-bench-gpu moec-bench-loop gpu-checks)
foreach(target IN LISTS programs ITEMS moec-compiler)
  if(NOT TARGET ${target})
    message(STATUS "no ${target}: the portable bundle is left out")
    return()
  endif()
endforeach()

install(TARGETS ${programs} moec-compiler RUNTIME_DEPENDENCY_SET bundle-libraries
        RUNTIME DESTINATION bin COMPONENT ${component} EXCLUDE_FROM_ALL
        LIBRARY DESTINATION lib COMPONENT ${component} EXCLUDE_FROM_ALL)
install(RUNTIME_DEPENDENCY_SET bundle-libraries DESTINATION lib COMPONENT ${component} EXCLUDE_FROM_ALL
        PRE_EXCLUDE_REGEXES "^(libc|libm|libdl|libpthread|librt|libstdc\\+\\+|libgcc_s|ld-linux.*)\\.so")
install(TARGETS libmoec LIBRARY DESTINATION lib COMPONENT ${component} EXCLUDE_FROM_ALL NAMELINK_COMPONENT ${component})
install(DIRECTORY tools/python/moec DESTINATION tools/python COMPONENT ${component} EXCLUDE_FROM_ALL
        FILES_MATCHING PATTERN "*.py" PATTERN __pycache__ EXCLUDE)
install(FILES tests/gpu/python.py DESTINATION tests/gpu COMPONENT ${component} EXCLUDE_FROM_ALL)
install(PROGRAMS tools/run-gpu-checks DESTINATION . COMPONENT ${component} EXCLUDE_FROM_ALL)
install(PROGRAMS tools/bench/peers.py tools/bench/turns.py tools/bench/place.py DESTINATION tools/bench COMPONENT ${component} EXCLUDE_FROM_ALL)
install(DIRECTORY tools/bench/rivals DESTINATION tools/bench COMPONENT ${component} EXCLUDE_FROM_ALL FILES_MATCHING PATTERN "*.py")
install(DIRECTORY tests/golden DESTINATION tests COMPONENT ${component} EXCLUDE_FROM_ALL)
install(FILES tests/e2e/golden.py tests/e2e/support.py DESTINATION tests/e2e COMPONENT ${component} EXCLUDE_FROM_ALL)
install(CODE "
  execute_process(COMMAND git describe --always --dirty WORKING_DIRECTORY \"${PROJECT_SOURCE_DIR}\"
                  OUTPUT_FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/VERSION\")" COMPONENT ${component} EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR TXZ)
set(CPACK_PACKAGE_FILE_NAME moec-bundle)
set(CPACK_INSTALL_CMAKE_PROJECTS "${PROJECT_BINARY_DIR};moec;${component};/")
set(CPACK_STRIP_FILES TRUE)
set(CPACK_THREADS 0) # as many as there are cores
set(CPACK_POST_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/BundleSize.cmake)
include(CPack)
