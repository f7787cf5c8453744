// Hands an error on: for functions that make one call after the other.
#pragma once

#include "compiler/core/Status.h"

/// Returns the error of a Status, if it is one.
#define MOEC_TRY(expression)                                                                                           \
  do {                                                                                                                 \
    if (::moec::Status tryStatus = (expression); !tryStatus.ok())                                                      \
      return tryStatus;                                                                                                \
  } while (false)
