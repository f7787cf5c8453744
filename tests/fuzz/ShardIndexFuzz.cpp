// model.safetensors.index.json. What is accepted must agree with a DOM, and no shard's name may leave the folder.
#include "runtime/weights/ShardIndex.h"
#include "tests/fuzz/Check.h"

#include <nlohmann/json.hpp>

#include <filesystem>

using namespace moec;
using namespace moec::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view json(reinterpret_cast<const char *>(data), size);
  Result<ShardIndex> index = parseShardIndex(json, "fuzz.json");
  if (!index) {
    expectGoodError(index.status(), "'fuzz.json'");
    return 0;
  }
  auto dom = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  expect(dom.is_object() && dom["weight_map"].is_object(), "an accepted index has a weight_map");
  expect(dom["weight_map"].size() == index->size() && !index->empty(), "each tensor is named once");
  for (const auto &[tensor, shard] : *index) {
    expect(dom["weight_map"][tensor] == shard, "a tensor has the shard that the text says");
    std::filesystem::path path = std::filesystem::path("/folder/") / shard;
    expect(path.lexically_normal().parent_path() == "/folder" && path.filename() == shard,
           "a shard lies in the folder itself");
    expect(shard.size() == std::char_traits<char>::length(shard.c_str()), "a shard's name has no NUL byte");
  }
  return 0;
}
