// The header of a .safetensors file. Input: one byte, the size of the data area; then the header's JSON.
//
// What is accepted is judged again, by other means: a DOM in place of events, wide arithmetic in place of overflow
// checks, and a count per byte of the data area in place of sorted offsets.
#include "runtime/weights/SafetensorsHeader.h"
#include "tests/fuzz/Check.h"

#include <nlohmann/json.hpp>

using namespace moec;
using namespace moec::fuzz;

namespace {

void judge(const SafetensorsHeader &header, std::string_view json, uint64_t dataBytes) {
  auto dom = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  expect(dom.is_object(), "an accepted header is a JSON object");
  expect(dom.size() == header.tensors.size() + dom.count("__metadata__"), "each key is a tensor or the metadata");

  std::vector<int> claims(dataBytes);
  for (const auto &[name, info] : header.tensors) {
    expect(dom.contains(name) && dom[name]["shape"] == info.shape, "a tensor is the one that the text describes");
    expect(info.begin <= info.end && info.end <= dataBytes, "a tensor lies in the data area");
    unsigned __int128 bits = bitSize(info.type);
    for (int64_t dim : info.shape) {
      expect(dim >= 0, "a dimension is not negative");
      bits *= static_cast<uint64_t>(dim);
      expect(bits >> 64 == 0, "a product stays below 2^64");
    }
    expect(bits == (info.end - info.begin) * 8, "a shape has the size of its bytes");
    for (uint64_t at = info.begin; at < info.end; ++at)
      ++claims[at];
  }
  expect(std::all_of(claims.begin(), claims.end(), [](int n) { return n == 1; }), "each byte has one tensor");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return -1;
  std::string_view json(reinterpret_cast<const char *>(data) + 1, size - 1);
  Result<SafetensorsHeader> header = parseSafetensorsHeader(json, data[0], "fuzz.safetensors");
  if (header)
    judge(*header, json, data[0]);
  else
    expectGoodError(header.status(), "'fuzz.safetensors'");
  return 0;
}
