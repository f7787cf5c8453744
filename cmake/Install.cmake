# `cmake --install BUILD --prefix PREFIX`: the tools, libmoec.so beside its compiler, the headers of the embedded API in C++ and C,
# what `find_package(moec)` reads, which gives the target moec::moec, and the Python package.
#
# bin/ and lib/ whatever the system calls them: libmoec.so and the tools find libmoec-compiler.so in one or the other.
include(CMakePackageConfigHelpers)

set(programs moec moec-trace)
set(libraries)
if(MOEC_COMPILER)
  list(APPEND programs moec-opt)
  list(APPEND libraries moec-compiler)
endif()
install(TARGETS ${programs} ${libraries} RUNTIME DESTINATION bin LIBRARY DESTINATION lib)
install(TARGETS libmoec EXPORT moecTargets LIBRARY DESTINATION lib INCLUDES DESTINATION include include/moec)

set(public_headers runtime/c/moec.h runtime/Session.h runtime/HostRunner.h runtime/CompilerSetup.h runtime/Version.h runtime/recompile/Recompiler.h
                   runtime/trace/LineWriter.h)
if(MOEC_CUDA)
  list(APPEND public_headers runtime/device/cuda/GraphRunner.h)
endif()
install(CODE "
  set(root \"${PROJECT_SOURCE_DIR}\")
  set(pending ${public_headers})
  include(\"${CMAKE_CURRENT_LIST_DIR}/InstallHeaders.cmake\")")

install(FILES runtime/c/moec.h DESTINATION include) # for C, which needs no other
install(DIRECTORY tools/python/moec DESTINATION lib/python FILES_MATCHING PATTERN "*.py" PATTERN __pycache__ EXCLUDE)

set(package lib/cmake/moec)
install(EXPORT moecTargets NAMESPACE moec:: DESTINATION ${package})
file(WRITE ${PROJECT_BINARY_DIR}/moecConfig.cmake [[
include(CMakeFindDependencyMacro)
find_dependency(fmt)
find_dependency(nlohmann_json)
include(${CMAKE_CURRENT_LIST_DIR}/moecTargets.cmake)
]])
# Until 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/moecConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/moecConfig.cmake ${PROJECT_BINARY_DIR}/moecConfigVersion.cmake DESTINATION ${package})
