// What the experiments of Facts.cpp call the driver with.
#pragma once

#include "tools/bench/gpu/Driver.h"
#include "tools/bench/gpu/DriverApi.h"

#include <chrono>

namespace moec::bench {

/// MOEC_CALL(api, cuFoo, arguments): returns from the function with the named error.
#define MOEC_CALL(api, function, ...) MOEC_TRY((api).check((api).function##Fn(__VA_ARGS__), #function))

/// Microseconds that `what` takes on this thread.
template <class What> double microseconds(What what) {
  const auto start = std::chrono::steady_clock::now();
  what();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

} // namespace moec::bench
