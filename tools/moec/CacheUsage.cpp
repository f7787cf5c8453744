#include "tools/moec/CacheUsage.h"

#include "compiler/core/CacheFolder.h"

#include <fcntl.h>

#include <filesystem>

namespace moec::tool {

namespace fs = std::filesystem;

KindUsage CacheUsage::total() const {
  KindUsage all;
  for (const auto &[kind, usage] : kinds) {
    all.entries += usage.entries;
    all.bytes += usage.bytes;
  }
  return all;
}

Result<CacheUsage> cacheUsage(const std::string &folder) {
  CacheUsage usage;
  std::error_code error;
  if (!fs::exists(folder, error) && !error)
    return usage;
  usage.exists = true;
  for (auto kind = fs::directory_iterator(folder, error); !error && kind != fs::directory_iterator();
       kind.increment(error)) {
    std::error_code ignored;
    if (!kind->is_directory(ignored) || !cache::isKindName(kind->path().filename().string()))
      continue;
    const File folder(::open(kind->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    KindUsage counted;
    bool any = false; // a folder without files of ours is not a kind of entry
    for (auto entry = fs::directory_iterator(kind->path(), error); !error && entry != fs::directory_iterator();
         entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      const uint64_t bytes = entry->file_size(ignored);
      if (ignored || !cache::isOwn(folder.get(), name)) // removed meanwhile, or somebody else's
        continue;
      any = true;
      const bool temporary = cache::isTemporaryName(name);
      temporary ? ++usage.temporaries : ++counted.entries;
      counted.bytes += bytes;
    }
    if (any)
      usage.kinds[kind->path().filename().string()] = counted;
    if (error)
      break;
  }
  if (error)
    return makeError(Code::Failure, "{}: {}", folder, error.message());
  return usage;
}

} // namespace moec::tool
