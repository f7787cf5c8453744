// A whole .safetensors file, opened mapped and unmapped. Both ways must come to the same end, and every byte of
// every tensor of an accepted file must be readable.
#include "runtime/weights/Safetensors.h"
#include "tests/fuzz/Check.h"

#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

using namespace moec;
using namespace moec::fuzz;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

namespace {

Result<SafetensorsFile> open(const uint8_t *data, size_t size, ReadMode mode) {
  Descriptor memory(::memfd_create("fuzz", MFD_CLOEXEC));
  expect(memory.valid() && ::write(memory.get(), data, size) == static_cast<ssize_t>(size), "memory can be had");
  Result<InputFile> file = InputFile::adopt(std::move(memory), "fuzz.safetensors", mode);
  expect(file.ok(), "a file in memory can be opened");
  return SafetensorsFile::open(std::move(*file));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Result<SafetensorsFile> mapped = open(data, size, ReadMode::Map), copied = open(data, size, ReadMode::Pread);
  expect(mapped.status().message() == copied.status().message(), "both ways give the same error");
  if (!mapped) {
    expectGoodError(mapped.status(), "'fuzz.safetensors'");
    return 0;
  }
  for (const auto &[name, info] : mapped->header().tensors) {
    std::vector<std::byte> fromMap(info.end - info.begin), fromFile(info.end - info.begin);
    expect(mapped->read(info, 0, fromMap).ok() && copied->read(*copied->find(name), 0, fromFile).ok(),
           "a tensor can be read");
    expect(fromMap == fromFile, "both ways read the same bytes");
    std::span<const std::byte> bytes = mapped->bytes(info);
    expect(std::equal(bytes.begin(), bytes.end(), fromMap.begin(), fromMap.end()), "a span is what is read");
    std::byte more[1];
    expect(!mapped->read(info, info.end - info.begin, more).ok(), "nothing is read past a tensor's end");
  }
  return 0;
}

// Most mutations make the header's length wrong and go no further; half of the inputs get it corrected.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, maxSize);
  if (seed % 2 == 0 || size <= 8)
    return size;
  std::string_view text(reinterpret_cast<const char *>(data) + 8, size - 8);
  size_t end = text.rfind('}');
  uint64_t length = end == std::string_view::npos ? text.size() : end + 1;
  std::memcpy(data, &length, sizeof(length));
  return size;
}
