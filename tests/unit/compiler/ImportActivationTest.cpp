// Activation regions compute what their names promise: each is run, op by op, and compared with the
// formula.
#include "compiler/import/Activation.h"
#include "tests/unit/compiler/ImportFixtures.h"

#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <sstream>

using namespace moec;
using namespace moec::test;
using importer::activationBlock;
using importer::parseActivation;

namespace {

/// Runs the lines of a region in float. Fails the test at a line that it does not know.
float evaluate(const std::string &block, float g, float u) {
  std::map<std::string, float> values{{"%g", g}, {"%u", u}};
  auto operand = [&](std::string name) {
    if (name.ends_with(','))
      name.pop_back();
    auto found = values.find(name);
    REQUIRE(found != values.end());
    return found->second;
  };
  const std::map<std::string, std::function<float(float, float)>> binary = {
      {"arith.addf", [](float a, float b) { return a + b; }},
      {"arith.mulf", [](float a, float b) { return a * b; }},
      {"arith.divf", [](float a, float b) { return a / b; }},
      {"arith.maximumf", [](float a, float b) { return a != a || b != b ? NAN : std::max(a, b); }},
      {"arith.minimumf", [](float a, float b) { return a != a || b != b ? NAN : std::min(a, b); }}};
  const std::map<std::string, std::function<float(float)>> unary = {
      {"arith.negf", [](float a) { return -a; }},
      {"math.exp", [](float a) { return std::exp(a); }},
      {"math.erf", [](float a) { return std::erf(a); }},
      {"math.tanh", [](float a) { return std::tanh(a); }}};
  std::istringstream lines(block);
  std::string line;
  REQUIRE(std::getline(lines, line));
  CHECK(line == "    ^bb0(%g: f32, %u: f32):");
  while (std::getline(lines, line)) {
    INFO(line);
    REQUIRE(line.ends_with(" : f32"));
    std::istringstream words(line);
    std::string result, equals, op, left, right;
    words >> result;
    if (result == "moe.yield") {
      words >> left;
      return operand(left);
    }
    words >> equals >> op >> left >> right;
    REQUIRE(equals == "=");
    REQUIRE_FALSE(values.contains(result)); // SSA
    if (op == "arith.constant")
      values[result] = std::stof(left);
    else if (auto one = unary.find(op); one != unary.end())
      values[result] = one->second(operand(left));
    else if (auto two = binary.find(op); two != binary.end())
      values[result] = two->second(operand(left), operand(right));
    else
      FAIL("unknown op");
  }
  FAIL("no yield");
  return 0;
}

/// The values that `text` defines, those of regions apart from those of the function around them.
struct Names {
  std::set<std::string> outside = {"%hidden"}, inside;
};

Names namesOf(const std::string &text) {
  Names names;
  std::istringstream lines(text);
  bool region = false;
  for (std::string line; std::getline(lines, line);) {
    region = line.starts_with("    ^bb0") || (region && line != "    }");
    size_t equals = line.find(" = ");
    if (equals == std::string::npos || line.find('%') > equals)
      continue;
    std::istringstream words(line.substr(0, equals));
    for (std::string word; words >> word;)
      (region ? names.inside : names.outside).insert(word.ends_with(',') ? word.substr(0, word.size() - 1) : word);
  }
  if (!names.inside.empty())
    names.inside.insert({"%g", "%u"});
  return names;
}

using Formula = double (*)(double);

void checkActivation(const char *name, Formula formula) {
  INFO(name);
  auto activation = parseActivation(name);
  REQUIRE(activation);
  std::string block = activationBlock(*activation);
  for (float g : {-20.f, -3.f, -1.f, -0.25f, 0.f, 1e-3f, 0.5f, 1.f, 2.75f, 30.f}) {
    INFO(g);
    CHECK(evaluate(block, g, 1.5f) == Approx(1.5 * formula(g)).epsilon(2e-6).margin(2e-6));
  }
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
double geluTanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

} // namespace

TEST_CASE("every known hidden_act has a region that computes it, times up", "[compiler][import]") {
  for (const char *name : {"silu", "swish"})
    checkActivation(name, [](double x) { return x * sigmoid(x); });
  for (const char *name : {"gelu", "gelu_python"})
    checkActivation(name, gelu);
  for (const char *name : {"gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh"})
    checkActivation(name, geluTanh);
  checkActivation("quick_gelu", [](double x) { return x * sigmoid(1.702 * x); });
  checkActivation("relu", [](double x) { return std::max(x, 0.0); });
}

TEST_CASE("clamped SwiGLU clamps the gate from above and up on both sides", "[compiler][import]") {
  const std::string block = activationBlock(importer::Activation::ClampedSwiglu, {.alpha = 1.5, .limit = 2});
  for (float g : {-30.f, -2.5f, -1.f, 0.f, 0.5f, 1.75f, 2.f, 3.f, 40.f})
    for (float u : {-9.f, -2.f, -1.f, 0.25f, 2.f, 5.f}) {
      CAPTURE(g, u);
      const double gate = std::min(g, 2.f), up = std::clamp(u, -2.f, 2.f);
      CHECK(evaluate(block, g, u) == Approx(gate * sigmoid(1.5 * gate) * (up + 1)).epsilon(2e-6).margin(2e-6));
    }
  CHECK(evaluate(block, -1e30f, 1.f) == 0.f);
  CHECK(std::isnan(evaluate(block, NAN, 1.f)));
  CHECK(std::isnan(evaluate(block, 1.f, NAN)));
}

TEST_CASE("an exp that overflows gives the limit, not NaN", "[compiler][import]") {
  for (const char *name : {"silu", "quick_gelu"})
    CHECK(evaluate(activationBlock(*parseActivation(name)), -1e30f, 1.f) == 0.f);
}

TEST_CASE("a NaN comes through every activation", "[compiler][import]") {
  for (const char *name : {"silu", "gelu", "gelu_new", "quick_gelu", "relu"})
    CHECK(std::isnan(evaluate(activationBlock(*parseActivation(name)), NAN, 1.f)));
}

// MLIR's parser lets a region see the names around it, and refuses to define one again.
TEST_CASE("a region defines no name of the function around it", "[compiler][import]") {
  for (json config : {deepseekV3Config(), qwen2Config(), mixtralConfig()})
    for (const char *act : {"silu", "gelu", "gelu_new", "quick_gelu", "relu"}) {
      config["hidden_act"] = act;
      Names names = namesOf(imported(config));
      CHECK(names.outside.size() > 10);
      CHECK(names.inside.size() >= 5);
      for (const std::string &name : names.inside) {
        INFO(act << " " << name);
        CHECK_FALSE(names.outside.contains(name));
      }
    }
  const Names names = namesOf(imported(gptOssConfig()));
  CHECK(names.inside.size() >= 12);
  for (const std::string &name : names.inside)
    CHECK_FALSE(names.outside.contains(name));
}

TEST_CASE("the region of the config's activation is that of routed and shared experts", "[compiler][import]") {
  json config = deepseekV3Config();
  config["hidden_act"] = "relu";
  std::string text = imported(config, {.layers = {3}}), block = activationBlock(importer::Activation::Relu);
  size_t first = text.find(block);
  REQUIRE(first != std::string::npos);
  CHECK(text.find(block, first + 1) != std::string::npos);
  CHECK_FALSE(contains(text, "math.exp"));
}
