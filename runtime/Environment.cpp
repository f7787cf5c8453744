#include "runtime/Environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

namespace moec {
namespace {

constexpr std::string_view known[] = {
    "MOEC_CACHE_DIR", "MOEC_COMPILER_LIBRARY", "MOEC_JIT_MEMORY_MIB", "MOEC_JIT_THREADS",
    "MOEC_LOG",       "MOEC_NUM_THREADS",      "MOEC_NVRTC_PATH"};
constexpr std::string_view logLevels[] = {"trace", "debug", "info", "warn", "error", "off"};

template <typename List> bool contains(const List &list, std::string_view value) {
  return std::find(std::begin(list), std::end(list), value) != std::end(list);
}

using Variables = std::map<std::string, std::string, std::less<>>;

Variables split(const char *const *variables) {
  Variables values;
  for (; variables && *variables; ++variables) {
    std::string_view entry = *variables;
    if (size_t equals = entry.find('='); equals != std::string_view::npos && equals + 1 < entry.size())
      values.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return values;
}

std::string cacheDirOf(const Variables &values) {
  auto in = [&](const char *name, const char *below) {
    auto found = values.find(name);
    return found == values.end() ? std::string() : found->second + below;
  };
  for (auto [name, below] :
       {std::pair{"MOEC_CACHE_DIR", ""}, std::pair{"XDG_CACHE_HOME", "/moec"}, std::pair{"HOME", "/.cache/moec"}})
    if (std::string folder = in(name, below); !folder.empty())
      return folder;
  return {};
}

/// Reads a number from 1 to `most` into `number`, or warns.
void readNumber(const std::string &name, const std::string &text, uint32_t most, uint32_t &number,
                std::vector<std::string> &warnings) {
  uint32_t read = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), read);
  if (error == std::errc() && end == text.data() + text.size() && read > 0 && read <= most)
    number = read;
  else
    warnings.push_back(fmt::format("{}={}: not a number from 1 to {}; ignored", name, text, most));
}

std::vector<std::string> splitAtColons(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(':'), text.size());
    if (end > 0)
      parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

/// NVRTC reads these by itself; a kernel made with them is not the one made without.
void readNvrtcFlags(const Variables &values, Environment &environment) {
  for (const char *name : {"NVRTC_PREPEND_FLAGS", "NVRTC_APPEND_FLAGS"})
    if (auto found = values.find(name); found != values.end()) {
      environment.nvrtcFlags += fmt::format("{}={}\n", name, found->second);
      environment.warnings.push_back(fmt::format("{} is set: NVRTC adds it to the options of every kernel", name));
    }
}

void readCuda(const Variables &values, Environment &environment) {
  if (auto path = values.find("MOEC_NVRTC_PATH"); path != values.end())
    environment.nvrtcOnly = splitAtColons(path->second);
  for (const char *name : {"CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"})
    if (auto found = values.find(name); found != values.end())
      environment.nvrtcAlso.push_back(found->second);
  readNvrtcFlags(values, environment);
}

} // namespace

Environment Environment::read(const char *const *variables) {
  const Variables values = split(variables);
  Environment environment;
  environment.cacheDir = cacheDirOf(values);
  readCuda(values, environment);
  for (const auto &[name, value] : values) {
    if (name.starts_with("MOEC_"))
      environment.variables.emplace(name, value);
    if (name == "MOEC_COMPILER_LIBRARY")
      environment.compilerLibrary = value;
    else if (name == "MOEC_NUM_THREADS")
      readNumber(name, value, 1024, environment.threads, environment.warnings);
    else if (name == "MOEC_JIT_THREADS")
      readNumber(name, value, 1024, environment.jitThreads, environment.warnings);
    else if (name == "MOEC_JIT_MEMORY_MIB")
      readNumber(name, value, 1u << 20, environment.jitMemoryMib, environment.warnings);
    else if (name == "NO_COLOR")
      environment.noColour = true;
    else if (name == "MOEC_LOG" && contains(logLevels, value))
      environment.log = value;
    else if (name == "MOEC_LOG")
      environment.warnings.push_back(
          fmt::format("MOEC_LOG={}: none of trace, debug, info, warn, error, off; ignored", value));
    else if (name.starts_with("MOEC_") && !contains(known, name))
      environment.warnings.push_back(fmt::format("{} is set, but moec knows no such variable", name));
  }
  return environment;
}

} // namespace moec
