// Runs the checks on GPU 0, or says that they were skipped (exit code 77) where there is none.
#define CATCH_CONFIG_RUNNER
#include "tests/unit/Catch.h"
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#endif

#include "runtime/device/cuda/Driver.h"

#include <cstdio>

int main(int argc, char **argv) {
  moec::Status missing;
  if (auto api = moec::CudaApi::load(); !api)
    missing = api.status();
  else if (auto driver = moec::CudaDriver::open("cuda:0", *api); !driver)
    missing = driver.status();
  if (!missing.ok()) {
    std::printf("skipped: %s\n", missing.message().c_str());
    return 77;
  }
  return Catch::Session().run(argc, argv);
}
