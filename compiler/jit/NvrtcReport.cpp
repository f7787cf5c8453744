// What ptxas says in NVRTC's log.
#include "compiler/jit/Nvrtc.h"

#include <charconv>
#include <string_view>

namespace moec {
namespace {

/// The number that stands before `unit` in `line`, e.g. 96 in "Used 96 registers"; 0 if there is none.
uint32_t numberBefore(std::string_view line, std::string_view unit) {
  const size_t at = line.find(unit);
  if (at == std::string_view::npos || at == 0)
    return 0;
  size_t begin = at;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9')
    --begin;
  uint32_t value = 0;
  std::from_chars(line.data() + begin, line.data() + at, value);
  return value;
}

} // namespace

std::vector<ResourceUse> parsePtxasReport(const std::string &log) {
  constexpr std::string_view entry = "Compiling entry function '";
  std::vector<ResourceUse> found;
  std::string_view rest = log;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (const size_t at = line.find(entry); at != std::string_view::npos) {
      const std::string_view name = line.substr(at + entry.size());
      found.push_back({.loweredName = std::string(name.substr(0, name.find('\'')))});
    } else if (!found.empty() && line.find(" bytes stack frame") != std::string_view::npos) {
      found.back().stackBytes = numberBefore(line, " bytes stack frame");
      found.back().spillStoreBytes = numberBefore(line, " bytes spill stores");
      found.back().spillLoadBytes = numberBefore(line, " bytes spill loads");
    } else if (!found.empty() && line.find(" registers") != std::string_view::npos) {
      found.back().registers = numberBefore(line, " registers");
      found.back().staticSharedBytes = numberBefore(line, " bytes smem");
    }
  }
  return found;
}

bool reportsSerialisedWgmma(const std::string &log) {
  // C7510, C7514, C7520 and their like: "Potential Performance Loss: wgmma.mma_async instructions are serialized ..."
  return log.find("wgmma") != std::string::npos && log.find("serialized") != std::string::npos;
}

} // namespace moec
