// Options, names, and what must not reach the text.
#include "compiler/import/ModelText.h"
#include "tests/unit/compiler/ImportFixtures.h"

#include <algorithm>
#include <cstdlib>

using namespace moec;
using namespace moec::test;
using importer::escapedString;
using importer::floatLiteral;

namespace {

std::string firstLine(const std::string &text) { return text.substr(0, text.find('\n')); }
std::string body(const std::string &text) { return text.substr(text.find('\n')); }

std::string nameLine(const std::string &name) {
  return "module attributes {moe.family = \"mixtral\", moe.model = \"" + name + "\"} {";
}

} // namespace

TEST_CASE("the dtype is the option's, else the config's, else bf16", "[compiler][import]") {
  json config = mixtralConfig();
  config["torch_dtype"] = "float16";
  CHECK(contains(imported(config), "%hidden: tensor<?x64xf16>"));
  CHECK(contains(imported(config, {.dtype = DType::F32}), "%hidden: tensor<?x64xf32>"));
  config["dtype"] = "float32"; // transformers 5's key comes first
  CHECK(contains(imported(config), "%hidden: tensor<?x64xf32>"));
  config["dtype"] = nullptr;
  CHECK(contains(imported(config), "%hidden: tensor<?x64xf16>"));
  config.erase("dtype");
  config.erase("torch_dtype");
  CHECK(contains(imported(config), "%hidden: tensor<?x64xbf16>"));
}

TEST_CASE("the correction bias is f32 whatever the dtype", "[compiler][import]") {
  CHECK(contains(imported(deepseekV3Config(), {.dtype = DType::F16}), "e_score_correction_bias\" : tensor<8xf32>"));
}

TEST_CASE("layers are chosen by number, in ascending order and once each", "[compiler][import]") {
  std::string text = imported(qwen3Config(), {.layers = {4, 1, 4}});
  CHECK(contains(text, "@layer_1("));
  CHECK(text.find("@layer_1(") < text.find("@layer_4("));
  CHECK(text.find("@layer_4(") == text.rfind("@layer_4("));
  CHECK_FALSE(contains(text, "@layer_0("));
}

TEST_CASE("a layer that is not a MoE layer is refused with those that are", "[compiler][import]") {
  CHECK(importError(deepseekV3Config(), {.layers = {4, 2}}, Code::InvalidArgument) ==
        "layer 2 is not a MoE layer of this model; it has 2 of them, from 3 to 4");
}

TEST_CASE("the name is the option's, else the end of the config's own, else the family", "[compiler][import]") {
  json config = mixtralConfig();
  CHECK(firstLine(imported(config)) == nameLine("mixtral"));
  config["_name_or_path"] = "/home/someone/models/Mixtral-8x7B-v0.1/";
  CHECK(firstLine(imported(config)) == nameLine("Mixtral-8x7B-v0.1"));
  CHECK(firstLine(imported(config, {.name = "mine"})) == nameLine("mine"));
  for (json none : {json(nullptr), json(""), json("//")}) {
    config["_name_or_path"] = none;
    CHECK(firstLine(imported(config)) == nameLine("mixtral"));
  }
}

TEST_CASE("a hostile name changes the name and nothing else", "[compiler][import]") {
  json config = deepseekV3Config();
  std::string expected = imported(config);
  const std::string names[] = {
      "\"} { func.func @evil() { return } } //",
      "\\\"",
      "\\22",
      std::string("a\0b", 3),
      "line\nbreak\r\ttab",
      "{e} {0} %s {}",
      "\xc3\xa9t\xc3\xa9",
      std::string(5000, '"'),
  };
  for (const std::string &name : names) {
    config["_name_or_path"] = name;
    for (const std::string &text : {imported(config), imported(deepseekV3Config(), {.name = name})}) {
      INFO(text.substr(0, 300));
      CHECK(body(text) == body(expected));
      CHECK(std::all_of(text.begin(), text.end(), [](char c) { return c == '\n' || (c >= 0x20 && c < 0x7f); }));
      // family, its value, model, and the two quotes of the name: none more.
      std::string line = firstLine(text);
      CHECK(std::count(line.begin(), line.end(), '"') == 4);
      CHECK(line.ends_with("\"} {"));
    }
  }
}

TEST_CASE("no other text of a config reaches the result", "[compiler][import]") {
  json config = qwen2Config();
  std::string expected = imported(config);
  config["auto_map"] = {{"AutoConfig", "evil.py--Evil"}};
  config["architectures"] = {"\"} moe.evil"};
  config["quantization_config"] = {{"quant_method", "evil"}};
  config["\"} evil"] = "evil";
  CHECK(imported(config) == expected);
}

TEST_CASE("a name is cut to 200 bytes, and not inside a character", "[compiler][import]") {
  auto named = [](const std::string &name) { return firstLine(imported(mixtralConfig(), {.name = name})); };
  CHECK(named(std::string(200, 'n')) == nameLine(std::string(200, 'n')));
  CHECK(named(std::string(201, 'n')) == nameLine(std::string(200, 'n')));
  CHECK(named(std::string(199, 'n') + "\xc3\xa9") == nameLine(std::string(199, 'n')));
  CHECK(named(std::string(198, 'n') + "\xc3\xa9") == nameLine(std::string(198, 'n') + "\\C3\\A9"));
  CHECK(named(std::string(197, 'n') + "\xf0\x9f\x98\x80") == nameLine(std::string(197, 'n')));
}

TEST_CASE("strings are escaped as MLIR does", "[compiler][import]") {
  CHECK(escapedString("a b~!") == "a b~!");
  CHECK(escapedString("\"\\") == "\\22\\5C");
  CHECK(escapedString(std::string("\0\n\x7f\xff", 4)) == "\\00\\0A\\7F\\FF");
}

TEST_CASE("float literals have a dot and read back as the same number", "[compiler][import]") {
  CHECK(floatLiteral(0) == "0.0");
  CHECK(floatLiteral(1) == "1.0");
  CHECK(floatLiteral(2.827) == "2.827");
  CHECK(floatLiteral(1e-20) == "1.0e-20");
  CHECK(floatLiteral(1e22) == "1.0e+22");
  for (double value : {0.1, 1.0 / 3, 1e-300, 5e-324, 1.7976931348623157e308, 123456789012345680.0, 16.0})
    CHECK(std::strtod(floatLiteral(value).c_str(), nullptr) == value);
}
