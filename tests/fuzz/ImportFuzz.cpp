// A config.json. Whatever it holds, the result is a bounded ASCII text whose lines are of the
// importer's own making: only the module's first line may hold text of the config, as one quoted
// string.
#include "compiler/import/ImportConfig.h"
#include "tests/fuzz/Check.h"

using namespace moec;
using namespace moec::fuzz;

namespace {

// A thousand layers, the most that are accepted, at some 6 kB each.
constexpr size_t mostText = 8'000'000;

std::string withoutFirstLine(const std::string &text) { return text.substr(text.find('\n')); }

std::string withoutMarks(const std::string &text) {
  const std::string mark = " {block_e4m3}";
  std::string rest;
  size_t from = 0;
  for (size_t at; (at = text.find(mark, from)) != std::string::npos; from = at + mark.size())
    rest.append(text, from, at - from);
  return rest.append(text, from);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string json(reinterpret_cast<const char *>(data), size);
  Result<std::string> text = importConfig(json);
  if (!text) {
    expectGoodError(text.status(), "config.json");
    return 0;
  }
  expect(text->size() < mostText, "a model's text is bounded");
  expect(std::all_of(text->begin(), text->end(), [](char c) { return c == '\n' || (c >= 0x20 && c < 0x7f); }),
         "a model's text is printable");
  std::string line = text->substr(0, text->find('\n'));
  expect(std::count(line.begin(), line.end(), '"') == 4 && line.ends_with("\"} {"), "a name does not leave its quotes");

  Result<std::string> renamed = importConfig(json, {.name = "name"});
  expect(renamed.ok() && withoutFirstLine(*renamed) == withoutFirstLine(*text), "a name changes nothing but itself");
  Result<std::string> plain = importConfig(json, {.name = "name", .plainWeights = true});
  expect(plain.ok() && *plain == withoutMarks(*renamed), "what is said of e4m3 weights is their marks");
  return 0;
}
