#include "runtime/recompile/Records.h"

#include <array>
#include <string_view>

namespace moec {

namespace {

constexpr std::array<const char *, 4> modeNames = {"auto", "manual", "off", "strict"};
constexpr std::array<const char *, 5> verdictNames = {"keep", "retable", "reuse", "compile", "refuse"};
constexpr std::array<const char *, 16> reasonNames = {
    "plan-fits",    "accumulating",      "measuring",         "hook-kept",    "pays",         "requested",
    "hook-changed", "nothing-better",    "gain-below-margin", "never-repaid", "rate-limited", "cooling-down",
    "backed-off",   "compile-forbidden", "not-asked",         "hook-refused"};
static_assert(reasonNames.size() == static_cast<size_t>(Reason::HookRefused) + 1);

template <typename Enum, size_t N>
Result<Enum> parseName(const std::array<const char *, N> &names, const std::string &name, const char *what) {
  for (size_t i = 0; i < N; ++i)
    if (std::string_view(names[i]) == name)
      return static_cast<Enum>(i);
  return makeError(Code::InvalidArgument, "unknown {} '{}'", what, name);
}

} // namespace

const char *modeName(LoopMode mode) { return modeNames[static_cast<size_t>(mode)]; }
const char *verdictName(Verdict verdict) { return verdictNames[static_cast<size_t>(verdict)]; }
const char *reasonName(Reason reason) { return reasonNames[static_cast<size_t>(reason)]; }

Result<LoopMode> parseMode(const std::string &name) { return parseName<LoopMode>(modeNames, name, "mode"); }
Result<Verdict> parseVerdict(const std::string &name) { return parseName<Verdict>(verdictNames, name, "verdict"); }

bool isChange(Verdict verdict) {
  return verdict == Verdict::Retable || verdict == Verdict::Reuse || verdict == Verdict::Compile;
}

} // namespace moec
