# cuda.h and NVRTC, from a CUDA toolkit or from NVIDIA's PyPI packages where tools/setup puts them. Both are optional.
#
# Sets MOEC_CUDA, MOEC_CUDA_INCLUDE (cuda.h of CUDA 12.8 or later: sessions on GPUs are built) and MOEC_NVRTC (the library:
# tests that compile for GPUs are built). Driver and NVRTC are opened at run time; nothing links to either. MOEC_SKIP is the
# kind of message for what is left out.
set(prefixes $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda /usr/local/lib/moec/nvidia/cu13)
find_path(MOEC_CUDA_INCLUDE cuda.h HINTS ${prefixes} PATH_SUFFIXES include targets/x86_64-linux/include)
find_library(MOEC_NVRTC NAMES libnvrtc.so.13 libnvrtc.so.12 HINTS ${prefixes}
             PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)

set(MOEC_CUDA OFF)
if(MOEC_CUDA_INCLUDE)
  file(STRINGS ${MOEC_CUDA_INCLUDE}/cuda.h version REGEX "^#define CUDA_VERSION [0-9]+")
  string(REGEX REPLACE "^#define CUDA_VERSION ([0-9]+).*" "\\1" version "${version}")
  if(version GREATER_EQUAL 12080)
    set(MOEC_CUDA ON)
  else()
    message(STATUS "${MOEC_CUDA_INCLUDE}/cuda.h is of CUDA ${version}, older than 12080")
  endif()
endif()
set(MOEC_SKIP STATUS)
if(DEFINED ENV{REQUIRE_ALL_TESTS})
  set(MOEC_SKIP FATAL_ERROR) # CI: what is left out elsewhere must be there
endif()
if(NOT MOEC_CUDA)
  message(${MOEC_SKIP} "no cuda.h: sessions on GPUs and moec-bench-gpu are left out")
endif()
if(NOT MOEC_NVRTC)
  message(${MOEC_SKIP} "no NVRTC: the unit tests that compile for GPUs are left out")
endif()
