#include "compiler/core/Json.h"
#include "tests/unit/Catch.h"

using namespace moec;

namespace {

JsonDocument parsed(const std::string &text) {
  Result<JsonDocument> document = JsonDocument::parse(text, "file", Code::InvalidArgument);
  REQUIRE(document.ok());
  return std::move(*document);
}

std::string parseError(const std::string &text) {
  Result<JsonDocument> document = JsonDocument::parse(text, "file", Code::InvalidArgument);
  REQUIRE_FALSE(document.ok());
  CHECK(document.status().code() == Code::InvalidArgument);
  return document.status().message();
}

} // namespace

TEST_CASE("what is not JSON is an error with its offset", "[core][json]") {
  CHECK(parseError("") == "file: not valid JSON at offset 1");
  CHECK(parseError("{\"a\": }") == "file: not valid JSON at offset 7");
  CHECK(parseError("[1, 2] 3") == "file: not valid JSON at offset 8");
  CHECK(parseError("\"\xff\"").starts_with("file: not valid JSON"));
  CHECK(parseError("[1e999]").starts_with("file: not valid JSON"));
}

TEST_CASE("a key that comes twice in one object is an error", "[core][json]") {
  CHECK(parseError(R"({"a": 1, "b": {"a": 1, "a": 2}})") == "file: the key 'a' comes twice in one object");
  CHECK(parsed(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})").status().ok());
}

TEST_CASE("nesting is bounded", "[core][json]") {
  auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parsed(nested(64)).status().ok());
  CHECK(parseError(nested(65)) == "file: nested deeper than 64");
  CHECK(parseError(std::string(1000000, '[')) == "file: nested deeper than 64");
}

TEST_CASE("the first failed read is the document's error, and later reads give zeros", "[core][json]") {
  JsonDocument document = parsed(R"({"layers": [{"pairs": [1, -2]}, 3], "name": "x"})");
  JsonValue layers = document.root()["layers"];
  CHECK(layers.at(0)["pairs"].at(0).integer(0, 9) == 1);
  CHECK(document.status().ok());
  CHECK(layers.at(0)["pairs"].at(1).integer(0, 9) == 0);
  CHECK(layers.at(1)["pairs"].size() == 0);
  CHECK(document.root()["missing"]["deeper"].text().empty());
  CHECK(document.status().message() == "file: layers[0].pairs[1]: expected an integer from 0 to 9, found -2");
}

TEST_CASE("each wrong read names the path, what was expected and what was found", "[core][json]") {
  const char *text = R"({"n": 1.5, "t": "abc", "b": true, "a": [1, 70000], "o": {"k": 1}})";
  struct {
    void (*read)(const JsonValue &);
    const char *message;
  } cases[] = {
      {[](const JsonValue &v) { v["x"].text(); }, "x: missing"},
      {[](const JsonValue &v) { v["o"]["y"].flag(); }, "o.y: missing"},
      {[](const JsonValue &v) { v["n"].integer(0, 3); }, "n: expected an integer from 0 to 3, found 1.5"},
      {[](const JsonValue &v) { v["t"].number(); }, "t: expected a number, found \"abc\""},
      {[](const JsonValue &v) { v["n"].number(2); }, "n: expected a number of at least 2, found 1.5"},
      {[](const JsonValue &v) { v["n"].number(0, 1); }, "n: expected a number from 0 to 1, found 1.5"},
      {[](const JsonValue &v) { v["b"].text(); }, "b: expected a text, found true"},
      {[](const JsonValue &v) { v["o"].flag(); }, "o: expected true or false, found object"},
      {[](const JsonValue &v) { v["t"].size(); }, "t: expected an array, found \"abc\""},
      {[](const JsonValue &v) { v["a"]["k"].text(); }, "a: expected an object, found array"},
      {[](const JsonValue &v) { v["a"].integers<uint16_t>(); },
       "a[1]: expected an integer from 0 to 65535, found 70000"},
      {[](const JsonValue &v) { v["o"].onlyKeys({"j"}); }, "o: unknown key 'k'"},
      {[](const JsonValue &v) { v.requireSchema("s", 1); }, "schema: missing"},
  };
  for (auto &[read, message] : cases) {
    JsonDocument document = parsed(text);
    read(document.root());
    CHECK(document.status().message() == std::string("file: ") + message);
  }
}

TEST_CASE("an error that quotes the text is printable and short", "[core][json]") {
  JsonDocument quoted = parsed(R"({"a\nb\u0001\u00e9": 1, "t": "x"})");
  quoted.root().onlyKeys({"t"});
  CHECK(quoted.status().message() == "file: unknown key 'a\\nb\\u0001\\u00e9'");
  JsonDocument value = parsed("1");
  value.root().fail("found a\nb\x01\xc3\xa9");
  CHECK(value.status().message() == "file: found a\\x0ab\\x01\\xc3\\xa9");
  JsonDocument longer = parsed("1");
  longer.root().fail(std::string(5000, 'y'));
  CHECK(longer.status().message() == "file: " + std::string(1000, 'y') + "...");
}

TEST_CASE("the largest integers are read exactly, and larger ones refused", "[core][json]") {
  JsonDocument document = parsed("[18446744073709551615, 9223372036854775807, 9223372036854775808]");
  JsonValue root = document.root();
  CHECK(root.at(0).integer(0, UINT64_MAX) == UINT64_MAX);
  CHECK(root.at(1).signedInteger(0, INT64_MAX) == INT64_MAX);
  CHECK(document.status().ok());
  root.at(2).signedInteger(0, INT64_MAX);
  CHECK_FALSE(document.status().ok());
}

TEST_CASE("a document can be moved while values point into it", "[core][json]") {
  JsonDocument document = parsed(R"({"a": 5})");
  JsonValue value = document.root()["a"];
  JsonDocument moved = std::move(document);
  CHECK(value.integer(0, 9) == 5);
  value.text();
  CHECK(moved.status().message() == "file: a: expected a text, found 5");
}
