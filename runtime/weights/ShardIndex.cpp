#include "runtime/weights/ShardIndex.h"

#include "runtime/weights/InputFile.h"
#include "runtime/weights/JsonEvents.h"
#include "runtime/weights/Text.h"

#include <set>

namespace moec {
namespace {

template <typename... Args> Status broken(fmt::format_string<Args...> format, Args &&...args) {
  return makeError(Code::InvalidModel, format, std::forward<Args>(args)...);
}

/// Turns the events of the index's JSON into `index`, or stops at the first broken rule.
class IndexReader final : public JsonEvents {
public:
  explicit IndexReader(ShardIndex &index) : index(index) {}

  bool foundMap() const { return mapFound; }

private:
  enum class At {
    Start,    // before the outermost '{'
    Root,     // between the outer keys
    Value,    // after an outer key that doesn't matter here
    Skip,     // inside such a value, `depth` levels deep
    MapStart, // after "weight_map":
    Map,
    Shard, // after a tensor's name
    Done,
  };

  bool onStart(bool object) override {
    switch (at) {
    case At::Start: return object ? go(At::Root) : unexpected("an array");
    case At::MapStart: return object ? go(At::Map) : unexpected("an array");
    case At::Value: depth = 1; return go(At::Skip);
    case At::Skip: ++depth; return true;
    default: return unexpected(object ? "an object" : "an array");
    }
  }

  bool onEnd() override {
    if (at == At::Skip)
      return --depth > 0 || go(At::Root);
    return go(at == At::Map ? At::Root : At::Done);
  }

  bool onKey(std::string &key) override {
    if (at == At::Skip)
      return true;
    if (at == At::Map)
      return startTensor(key);
    if (!rootKeys.insert(key).second)
      return fail(broken("(I2) key {} occurs twice", inQuotes(key)));
    if (key != "weight_map")
      return go(At::Value);
    mapFound = true;
    return go(At::MapStart);
  }

  bool startTensor(std::string &name) {
    auto [place, isNew] = index.try_emplace(std::move(name));
    if (!isNew)
      return fail(broken("tensor {}: (I2) weight_map names it twice", inQuotes(place->first)));
    tensor = place;
    return go(At::Shard);
  }

  bool onString(std::string &value) override {
    if (at != At::Shard)
      return scalar("a string");
    if (!isPlainFileName(value))
      return fail(broken("tensor {}: (I4) shard name {} is refused: it must name a file in the same folder",
                         inQuotes(tensor->first), inQuotes(value)));
    tensor->second = std::move(value);
    return go(At::Map);
  }

  bool onUnsigned(uint64_t) override { return scalar("a number"); }
  bool onOther(const char *kind) override { return scalar(kind); }

  bool scalar(const char *kind) {
    if (at == At::Skip)
      return true;
    return at == At::Value ? go(At::Root) : unexpected(kind);
  }

  bool unexpected(const char *kind) {
    if (at == At::Shard)
      return fail(broken("tensor {}: (I3) its shard is {}, not a string", inQuotes(tensor->first), kind));
    if (at == At::MapStart)
      return fail(broken("(I3) weight_map is {}, not an object", kind));
    return fail(broken("(I1) the index is {}, not an object", kind));
  }

  bool go(At next) {
    at = next;
    return true;
  }

  ShardIndex &index;
  At at = At::Start;
  ShardIndex::iterator tensor;
  std::set<std::string> rootKeys;
  size_t depth = 0;
  bool mapFound = false;
};

} // namespace

Result<ShardIndex> parseShardIndex(std::string_view json, std::string_view file) {
  ShardIndex index;
  IndexReader reader(index);
  Status status;
  if (json.size() > maxIndexBytes)
    status = broken("(I1) the index has {} bytes, more than the {} allowed", json.size(), maxIndexBytes);
  else
    status = reader.parse(json, "(I1) the index");
  if (status.ok() && !reader.foundMap())
    status = broken("(I3) the index has no weight_map");
  if (status.ok() && index.empty())
    status = broken("(I3) weight_map names no tensor");
  if (!status.ok())
    return status.withContext("{}", inQuotes(file));
  return index;
}

} // namespace moec
