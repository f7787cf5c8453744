#include "runtime/Environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

namespace moec {
namespace {

constexpr std::string_view known[] = {"MOEC_CACHE_DIR", "MOEC_COMPILER_LIBRARY", "MOEC_LOG", "MOEC_NUM_THREADS"};
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
  for (auto [name, below] : {std::pair{"MOEC_CACHE_DIR", ""}, std::pair{"XDG_CACHE_HOME", "/moec"},
                             std::pair{"HOME", "/.cache/moec"}})
    if (std::string folder = in(name, below); !folder.empty())
      return folder;
  return {};
}

void readThreads(const std::string &text, Environment &environment) {
  uint32_t threads = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), threads);
  if (error == std::errc() && end == text.data() + text.size() && threads > 0 && threads <= 1024)
    environment.threads = threads;
  else
    environment.warnings.push_back(fmt::format("MOEC_NUM_THREADS={}: not a number from 1 to 1024; ignored", text));
}

} // namespace

Environment Environment::read(const char *const *variables) {
  const Variables values = split(variables);
  Environment environment;
  environment.cacheDir = cacheDirOf(values);
  for (const auto &[name, value] : values) {
    if (name.starts_with("MOEC_"))
      environment.variables.emplace(name, value);
    if (name == "MOEC_COMPILER_LIBRARY")
      environment.compilerLibrary = value;
    else if (name == "MOEC_NUM_THREADS")
      readThreads(value, environment);
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
