// Kernels written plainly in C++ with exactly the ABI of generated ones, for any K, height and vector width.
#pragma once

#include "compiler/core/abi/CpuKernels.h"
#include "runtime/device/cpu/Image.h"

#include <cstdint>
#include <string>

namespace moec::test {

/// What one fake function computes.
struct FakeSpec {
  enum Kind : uint8_t { GateUp, Down, Router, Pack } kind = GateUp;
  uint32_t rows = 0, k = 0, lanes = 8;
  DType compute = DType::F32; // of the panels
  DType rowType = DType::F32; // of `a`, and of what gate-up writes
  bool biased = false;        // panels end with biases
  bool weighted = false;      // GateUp: rows have weights
  bool wrong = false;         // adds an error that validation must find
};

/// Adds "symbol spec" to the bytes of a fake image.
void addSymbol(Image &image, const std::string &symbol, const FakeSpec &spec);

/// An ImageLoader for fake images. Functions stop being callable when their image goes (a call then aborts), so that a
/// generation that is freed too early is found.
Result<std::shared_ptr<const KernelImage>> loadFake(const Image &image);

/// Fake images that are loaded now.
int loadedFakes();

} // namespace moec::test
