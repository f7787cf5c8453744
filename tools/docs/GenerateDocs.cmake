# Writes the reference pages of the dialect and the passes to OUT; with COMPARE, fails where docs/generated differs.
#
# cmake -DTABLEGEN=mlir-tblgen -DMLIR_INCLUDE=FOLDER[;FOLDER] -DROOT=REPOSITORY -DOUT=FOLDER [-DCOMPARE=ON] -P GenerateDocs.cmake

foreach(needed TABLEGEN MLIR_INCLUDE ROOT OUT)
  if(NOT ${needed})
    message(FATAL_ERROR "GenerateDocs.cmake needs -D${needed}=")
  endif()
endforeach()

set(includes -I${ROOT})
foreach(folder ${MLIR_INCLUDE})
  list(APPEND includes -I${folder})
endforeach()

function(generate page td)
  execute_process(COMMAND ${TABLEGEN} ${ARGN} ${includes} ${ROOT}/${td} OUTPUT_VARIABLE text ERROR_VARIABLE errors
                  RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${TABLEGEN} ${ARGN} ${td}: ${errors}")
  endif()
  file(WRITE ${OUT}/${page} "${text}")
  if(NOT COMPARE)
    return()
  endif()
  execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files ${OUT}/${page} ${ROOT}/docs/generated/${page}
                  RESULT_VARIABLE differs ERROR_QUIET)
  if(differs)
    message(SEND_ERROR "docs/generated/${page} is not what ${td} says now: build the target `docs` and commit the page")
  endif()
endfunction()

generate(MoeDialect.md ir/MoeOps.td -gen-dialect-doc -dialect=moe)
generate(Passes.md passes/Passes.td -gen-pass-doc)
