#include "compiler/core/Json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace moec {

namespace {

using nlohmann::json;

constexpr size_t maxDepth = 64;

/// A key as an error names it: short, ASCII, and on one line.
std::string printable(const std::string &key) {
  std::string text = json(key).dump(-1, ' ', true, json::error_handler_t::replace);
  text = text.substr(1, text.size() - 2);
  return text.size() <= 40 ? text : text.substr(0, 40) + "...";
}

/// Checks what nlohmann's document would not tell: where an error is, keys that come twice, and the
/// depth.
class Checker : public nlohmann::json_sax<json> {
public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t &) override { return true; }
  bool string(string_t &) override { return true; }
  bool binary(binary_t &) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override { return leave(); }

  bool key(string_t &name) override {
    if (levels.back().insert(name).second)
      return true;
    message = fmt::format("the key '{}' comes twice in one object", printable(name));
    return false;
  }

  bool parse_error(std::size_t position, const std::string &, const nlohmann::detail::exception &) override {
    if (message.empty())
      message = fmt::format("not valid JSON at offset {}", position);
    return false;
  }

  std::string message;

private:
  bool enter() {
    levels.emplace_back();
    if (levels.size() <= maxDepth)
      return true;
    message = fmt::format("nested deeper than {}", maxDepth);
    return false;
  }
  bool leave() {
    levels.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> levels; // keys seen of every open object
};

/// A value as an error quotes it: short, and on one line.
std::string quoted(const json &value) {
  if (value.is_object() || value.is_array())
    return value.type_name();
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= 40 ? text : text.substr(0, 40) + "...";
}

/// A message that may hold parts of the text, fit for a log: ASCII on one line, and not longer than a screen.
std::string fitForLog(const std::string &message) {
  constexpr size_t most = 1000;
  std::string text;
  for (unsigned char byte : message.substr(0, most))
    text += byte >= 0x20 && byte < 0x7f ? std::string(1, static_cast<char>(byte)) : fmt::format("\\x{:02x}", byte);
  return message.size() <= most ? text : text + "...";
}

} // namespace

//===-- JsonValue -----------------------------------------------------------------------------===//

void JsonValue::fail(const std::string &message) const {
  if (error->ok())
    *error = Status(Code::Failure, fitForLog(path.empty() ? message : path + ": " + message));
}

void JsonValue::expected(const std::string &what) const {
  if (value)
    fail(fmt::format("expected {}, found {}", what, quoted(*value)));
}

bool JsonValue::isArray() const { return value && value->is_array(); }

bool JsonValue::has(const char *key) const { return value && value->is_object() && value->contains(key); }

bool JsonValue::isNull() const { return value && value->is_null(); }

JsonValue JsonValue::operator[](const char *key) const {
  JsonValue child(nullptr, path.empty() ? key : path + "." + key, error);
  if (!value)
    return child;
  if (!value->is_object()) {
    expected("an object");
    return child;
  }
  auto found = value->find(key);
  if (found == value->end())
    child.fail("missing");
  else
    child.value = &*found;
  return child;
}

size_t JsonValue::size() const {
  if (isArray())
    return value->size();
  expected("an array");
  return 0;
}

JsonValue JsonValue::at(size_t index) const {
  const json *element = isArray() && index < value->size() ? &(*value)[index] : nullptr;
  return {element, fmt::format("{}[{}]", path, index), error};
}

std::vector<std::string> JsonValue::keys() const {
  std::vector<std::string> names;
  if (!value || !value->is_object()) {
    expected("an object");
    return names;
  }
  for (auto entry = value->begin(); entry != value->end(); ++entry)
    names.push_back(entry.key());
  return names;
}

void JsonValue::onlyKeys(std::initializer_list<const char *> known) const {
  for (const std::string &key : keys())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail(fmt::format("unknown key '{}'", printable(key)));
}

uint64_t JsonValue::integer(uint64_t least, uint64_t most) const {
  if (value && value->is_number_unsigned()) {
    uint64_t number = value->get<uint64_t>();
    if (number >= least && number <= most)
      return number;
  }
  expected(fmt::format("an integer from {} to {}", least, most));
  return 0;
}

int64_t JsonValue::signedInteger(int64_t least, int64_t most) const {
  constexpr uint64_t largest = std::numeric_limits<int64_t>::max();
  bool fits =
      value && value->is_number_integer() && (!value->is_number_unsigned() || value->get<uint64_t>() <= largest);
  if (fits) {
    int64_t number = value->get<int64_t>();
    if (number >= least && number <= most)
      return number;
  }
  expected(fmt::format("an integer from {} to {}", least, most));
  return 0;
}

double JsonValue::number(double least, double most) const {
  if (value && value->is_number()) {
    double number = value->get<double>();
    if (number >= least && number <= most)
      return number;
  }
  bool anyNumber = most == std::numeric_limits<double>::max();
  if (anyNumber && least == -most)
    expected("a number");
  else if (anyNumber)
    expected(fmt::format("a number of at least {}", least));
  else
    expected(fmt::format("a number from {} to {}", least, most));
  return 0;
}

bool JsonValue::flag() const {
  if (value && value->is_boolean())
    return value->get<bool>();
  expected("true or false");
  return false;
}

std::string JsonValue::text() const {
  if (value && value->is_string())
    return value->get_ref<const std::string &>();
  expected("a text");
  return {};
}

// Element by element without a JsonValue each: a package has tens of thousands of these numbers.
template <typename T> std::vector<T> JsonValue::integers(uint64_t most) const {
  std::vector<T> numbers(size());
  for (size_t index = 0; index < numbers.size(); ++index) {
    const json &element = (*value)[index];
    if (!element.is_number_unsigned() || element.get<uint64_t>() > most) {
      at(index).integer(0, most);
      return {};
    }
    numbers[index] = static_cast<T>(element.get<uint64_t>());
  }
  return numbers;
}

template std::vector<uint8_t> JsonValue::integers<uint8_t>(uint64_t) const;
template std::vector<uint16_t> JsonValue::integers<uint16_t>(uint64_t) const;
template std::vector<uint32_t> JsonValue::integers<uint32_t>(uint64_t) const;

void JsonValue::requireSchema(const char *name, uint64_t version) const {
  std::string schema = (*this)["schema"].text();
  if (error->ok() && schema != name)
    (*this)["schema"].fail(fmt::format("expected \"{}\", found \"{}\"", name, schema));
  uint64_t found = (*this)["schema_version"].integer(0, std::numeric_limits<uint64_t>::max());
  if (error->ok() && found != version)
    (*this)["schema_version"].fail(fmt::format("version {} is not supported, only {}", found, version));
}

//===-- JsonDocument --------------------------------------------------------------------------===//

JsonDocument::JsonDocument() : error(std::make_unique<Status>()) {}
JsonDocument::JsonDocument(JsonDocument &&) noexcept = default;
JsonDocument &JsonDocument::operator=(JsonDocument &&) noexcept = default;
JsonDocument::~JsonDocument() = default;

Result<JsonDocument> JsonDocument::parse(const std::string &text, const char *what, Code code) {
  Checker checker;
  if (!json::sax_parse(text, &checker))
    return makeError(code, "{}: {}", what, checker.message.empty() ? "not valid JSON" : checker.message);
  JsonDocument document;
  document.what = what;
  document.code = code;
  document.parsed = std::make_unique<json>(json::parse(text, nullptr, /*allow_exceptions=*/false));
  if (document.parsed->is_discarded())
    return makeError(code, "{}: not valid JSON", what);
  return document;
}

Status JsonDocument::status() const {
  return error->ok() ? Status() : makeError(code, "{}: {}", what, error->message());
}

} // namespace moec
