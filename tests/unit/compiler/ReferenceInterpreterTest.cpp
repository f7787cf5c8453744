// The reference run on IR: what the phases do to a layer never changes its result.
#include "ir/Moe.h"
#include "ir/reference/Interpreter.h"
#include "passes/Passes.h"
#include "tests/unit/Catch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <cmath>
#include <functional>
#include <random>

using namespace moec;
using namespace moec::reference;

namespace {

/// A layer of T x 6 tokens, 8 experts, K = 2, I = 4; the parts that tests vary are spliced in.
std::string layerText(const std::string &routing, const std::string &activation, bool biased = false,
                      bool onInput = false) {
  const std::string biases = biased ? R"(
    %gbias = moe.weight "experts.{e}.gate_bias" : tensor<8x4xf32>
    %ubias = moe.weight "experts.{e}.up_bias" : tensor<8x4xf32>
    %dbias = moe.weight "experts.{e}.down_bias" : tensor<8x6xf32>)"
                                    : "";
  return R"(
module {
  func.func @layer(%hidden: tensor<?x6xf32>) -> (tensor<?x6xf32>, tensor<8xi32>) attributes {moe.layer = 3 : i64} {
    %router = moe.weight "router" : tensor<8x6xf32>
    %bias = moe.weight "bias" : tensor<8xf32>
    %gate = moe.weight "experts.{e}.gate" : tensor<8x4x6xf32>
    %up = moe.weight "experts.{e}.up" : tensor<8x4x6xf32>
    %down = moe.weight "experts.{e}.down" : tensor<8x6x4xf32>
    %sgate = moe.weight "shared.gate" : tensor<5x6xf32>
    %sdown = moe.weight "shared.down" : tensor<6x5xf32>
    %srouter = moe.weight "shared.router" : tensor<1x6xf32>
)" + biases +
         routing +
         R"(
    %counts = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<8xi32>
    %buffer, %slot = moe.dispatch %hidden, %ids)" +
         (onInput ? " weights %weights {weight_on_input} : (tensor<?x6xf32>, tensor<?x2xi32>, tensor<?x2xf32>)"
                  : " : (tensor<?x6xf32>, tensor<?x2xi32>)") +
         R"( -> (tensor<8x?x6xf32>, tensor<?x2xi32>)
    %expert = moe.expert_ffn %buffer, %gate, %up, %down)" +
         (biased ? " bias %gbias, %ubias, %dbias" : "") +
         "\n        : (tensor<8x?x6xf32>, tensor<8x4x6xf32>, tensor<8x4x6xf32>, tensor<8x6x4xf32>" +
         (biased ? ", tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x6xf32>" : "") +
         R"() -> tensor<8x?x6xf32> activation {
    ^bb0(%g: f32, %u: f32):
)" + activation +
         R"(
    }
    %shared = moe.shared_ffn %hidden, %sgate, %sgate, %sdown router %srouter
        : (tensor<?x6xf32>, tensor<5x6xf32>, tensor<5x6xf32>, tensor<6x5xf32>, tensor<1x6xf32>) -> tensor<?x6xf32> activation {
    ^bb0(%g: f32, %u: f32):
)" + activation +
         R"(
    }
    %out = moe.combine %expert, %ids, %slot)" +
         (onInput ? " init %shared : (tensor<8x?x6xf32>, tensor<?x2xi32>, tensor<?x2xi32>"
                  : ", %weights init %shared : (tensor<8x?x6xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>") +
         R"(, tensor<?x6xf32>) -> tensor<?x6xf32>
    return %out, %counts : tensor<?x6xf32>, tensor<8xi32>
  }
})";
}

const char *const deepSeekRouting = R"(
    %logits = moe.router %hidden, %router : (tensor<?x6xf32>, tensor<8x6xf32>) -> tensor<?x8xf32>
    %scores = moe.score sigmoid %logits : tensor<?x8xf32>
    %ids, %chosen = moe.top_k %scores correction %bias {k = 2 : i64, groups = 4 : i64, groups_picked = 2 : i64, group_top = 2 : i64}
        : (tensor<?x8xf32>, tensor<8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %norm = moe.normalize %chosen {epsilon = 0.0625 : f64} : tensor<?x2xf32>
    %weights = moe.scale %norm by 2.5 : tensor<?x2xf32>)";
const char *const qwenRouting = R"(
    %logits = moe.router %hidden, %router bias %bias : (tensor<?x6xf32>, tensor<8x6xf32>, tensor<8xf32>) -> tensor<?x8xf32>
    %scores = moe.score softmax %logits : tensor<?x8xf32>
    %ids, %chosen = moe.top_k %scores {k = 2 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %weights = moe.normalize %chosen : tensor<?x2xf32>)";
const char *const mixtralRouting = R"(
    %logits = moe.router %hidden, %router : (tensor<?x6xf32>, tensor<8x6xf32>) -> tensor<?x8xf32>
    %ids, %chosen = moe.top_k %logits {k = 2 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %soft = moe.score softmax %chosen : tensor<?x2xf32>
    %weights = moe.normalize %soft : tensor<?x2xf32>)"; // folds away

const char *const silu = R"(
      %negated = arith.negf %g : f32
      %exp = math.exp %negated : f32
      %one = arith.constant 1.0 : f32
      %denominator = arith.addf %exp, %one : f32
      %silu = arith.divf %g, %denominator : f32
      %h = arith.mulf %silu, %u : f32
      moe.yield %h : f32)";

struct Ir {
  mlir::DialectRegistry registry;
  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;

  explicit Ir(const std::string &text) : context(mlir::MLIRContext::Threading::DISABLED) {
    context.loadDialect<moe::MoeDialect, mlir::arith::ArithDialect, mlir::math::MathDialect, mlir::func::FuncDialect>();
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    REQUIRE(module);
  }

  bool lower(passes::Phase to) {
    mlir::PassManager manager(&context);
    passes::addPhases(manager, passes::Phase::Input, to);
    return mlir::succeeded(manager.run(*module));
  }

  Result<std::vector<LayerResult>> evaluate(const Tensor &hidden, const WeightProvider &weights) {
    return evaluateLayer(*module->getOps<mlir::func::FuncOp>().begin(), hidden, weights);
  }
};

Tensor randomTensor(Shape shape, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::uniform_int_distribution<int> eighths(-16, 16); // many ties among the routers' logits
  Tensor tensor = Tensor::filled(std::move(shape), 0);
  for (double &value : tensor.values)
    value = eighths(engine) / 8.0;
  return tensor;
}

Result<Tensor> randomWeight(const std::string &name, const Shape &shape) {
  return randomTensor(shape, std::hash<std::string>()(name));
}

/// The value of `activation` (its region's text) at (gate, up): a shared network that is the
/// identity around it.
Result<double> activate(const std::string &activation, double gate, double up) {
  Ir ir(R"(module { func.func @layer(%hidden: tensor<?x2xf32>) -> tensor<?x2xf32> {
    %gate = moe.weight "gate" : tensor<1x2xf32>
    %up = moe.weight "up" : tensor<1x2xf32>
    %down = moe.weight "down" : tensor<2x1xf32>
    %out = moe.shared_ffn %hidden, %gate, %up, %down
        : (tensor<?x2xf32>, tensor<1x2xf32>, tensor<1x2xf32>, tensor<2x1xf32>) -> tensor<?x2xf32> activation {
    ^bb0(%g: f32, %u: f32):
)" + activation +
        "\n    }\n    return %out : tensor<?x2xf32>\n } }");
  auto weights = [](const std::string &name, const Shape &shape) -> Result<Tensor> {
    return Tensor{shape, name == "gate" ? std::vector<double>{1, 0}
                         : name == "up" ? std::vector<double>{0, 1}
                                        : std::vector<double>{1, 1}};
  };
  Result<std::vector<LayerResult>> results = ir.evaluate({{1, 2}, {gate, up}}, weights);
  if (!results)
    return results.status();
  return std::get<Tensor>(results->front()).values[0];
}

} // namespace

TEST_CASE("no phase from input to planned changes a result", "[compiler][reference]") {
  for (auto [routing, biased, onInput] :
       {std::tuple(deepSeekRouting, false, false), std::tuple(qwenRouting, true, false),
        std::tuple(mixtralRouting, false, false), std::tuple(mixtralRouting, true, true)}) {
    Tensor hidden = randomTensor({37, 6}, 7);
    // One token with some logits that are not finite, one without any finite one.
    hidden.values[6] = INFINITY;
    std::fill_n(hidden.values.begin() + 12, 6, NAN);
    Tensor finite = randomTensor({37, 6}, 7);
    for (const Tensor *input : {&hidden, &finite}) {
      Ir ir(layerText(routing, silu, biased, onInput));
      Result<std::vector<LayerResult>> expected = ir.evaluate(*input, randomWeight);
      REQUIRE(expected.ok());
      for (passes::Phase phase :
           {passes::Phase::Grouped, passes::Phase::Sized, passes::Phase::Selected, passes::Phase::Planned}) {
        CAPTURE(routing, passes::phaseName(phase).str());
        REQUIRE(ir.lower(phase));
        Result<std::vector<LayerResult>> lowered = ir.evaluate(*input, randomWeight);
        REQUIRE(lowered.ok());
        const auto &want = std::get<Tensor>(expected->at(0)), &have = std::get<Tensor>(lowered->at(0));
        REQUIRE(have.shape == want.shape);
        for (size_t index = 0; index < want.values.size(); ++index)
          // Not NaN == NaN; the fold of a normalisation may change the last bit.
          CHECK((std::isnan(want.values[index]) ? std::isnan(have.values[index])
                                                : std::abs(have.values[index] - want.values[index]) <=
                                                      1e-13 * (1 + std::abs(want.values[index]))));
        CHECK(std::get<IdTensor>(lowered->at(1)) == std::get<IdTensor>(expected->at(1)));
      }
    }
  }
}

TEST_CASE("a weight per expert is asked for expert by expert", "[compiler][reference]") {
  Ir ir(layerText(mixtralRouting, silu, true));
  std::vector<std::string> asked;
  Result<std::vector<LayerResult>> results =
      ir.evaluate(randomTensor({2, 6}, 1), [&](const std::string &name, const Shape &shape) {
        asked.push_back(name + shapeText(shape));
        return randomWeight(name, shape);
      });
  REQUIRE(results.ok());
  CHECK(std::count(asked.begin(), asked.end(), "experts.7.down[6, 4]") == 1);
  CHECK(std::count(asked.begin(), asked.end(), "router[8, 6]") == 1);
  CHECK(std::count(asked.begin(), asked.end(), "experts.7.down_bias[6]") == 1);
  CHECK(asked.size() == 6 * 8 + 5);
}

TEST_CASE("what is wrong in a run is named", "[compiler][reference]") {
  Ir ir(layerText(mixtralRouting, silu));
  auto missing = [](const std::string &name, const Shape &) -> Result<Tensor> {
    return makeError(Code::NotFound, "no tensor {}", name);
  };
  CHECK(ir.evaluate(randomTensor({2, 6}, 1), missing).status().message() == "layer: moe.weight: no tensor router");
  auto tooSmall = [](const std::string &, const Shape &) -> Result<Tensor> { return Tensor{{1}, {0}}; };
  CHECK(ir.evaluate(randomTensor({2, 6}, 1), tooSmall).status().message() ==
        "layer: moe.weight: router is [1], expected [8, 6]");
  CHECK(ir.evaluate(randomTensor({2, 5}, 1), randomWeight).status().message() ==
        "layer: hidden is [2, 5], expected [?, 6]");
  REQUIRE(ir.lower(passes::Phase::Launches));
  CHECK(ir.evaluate(randomTensor({2, 6}, 1), randomWeight).status().message() ==
        "layer: the reference does not know 'moe.launch'");
}

TEST_CASE("activation regions mean what arith and math say", "[compiler][reference]") {
  auto value = [](const std::string &op, double gate, double up) {
    Result<double> result = activate("      %h = " + op + " : f32\n      moe.yield %h : f32", gate, up);
    REQUIRE(result.ok());
    return *result;
  };
  CHECK(value("arith.addf %g, %u", 3, 5) == 8);
  CHECK(value("arith.subf %g, %u", 3, 5) == -2);
  CHECK(value("arith.mulf %g, %u", 3, 5) == 15);
  CHECK(value("arith.divf %g, %u", 3, 4) == 0.75);
  CHECK(value("arith.negf %g", 3, 5) == -3);
  CHECK(value("arith.maximumf %g, %u", 3, 5) == 5);
  CHECK(value("arith.minimumf %g, %u", 3, 5) == 3);
  CHECK(value("arith.maxnumf %g, %u", 3, -5) == 3);
  CHECK(value("arith.minnumf %g, %u", 3, -5) == -5);
  CHECK(value("math.absf %u", 3, -5) == 5);
  CHECK(value("math.exp %g", 1, 0) == Approx(2.718281828459045).epsilon(1e-15));
  CHECK(value("math.exp2 %g", 3, 0) == 8);
  CHECK(value("math.expm1 %g", 1e-20, 0) == 1e-20);
  CHECK(value("math.log %g", 1, 0) == 0);
  CHECK(value("math.log1p %g", 1e-20, 0) == 1e-20);
  CHECK(value("math.log2 %g", 8, 0) == 3);
  CHECK(value("math.sqrt %g", 9, 0) == 3);
  CHECK(value("math.rsqrt %g", 4, 0) == 0.5);
  CHECK(value("math.powf %g, %u", 2, 10) == 1024);
  CHECK(value("math.fma %g, %u, %g", 3, 5) == 18);
  CHECK(value("math.tanh %g", 0.5, 0) == Approx(0.46211715726000975).epsilon(1e-15));
  CHECK(value("math.erf %g", 0.5, 0) == Approx(0.5204998778130465).epsilon(1e-15));
}

TEST_CASE("comparisons and selections follow NaN rules", "[compiler][reference]") {
  auto isSelected = [](const std::string &predicate, double gate, double up) {
    Result<double> result = activate("      %c = arith.cmpf " + predicate + R"(, %g, %u : f32
      %yes = arith.constant 1.0 : f32
      %no = arith.constant 0.0 : f32
      %h = arith.select %c, %yes, %no : f32
      moe.yield %h : f32)",
                                     gate, up);
    REQUIRE(result.ok());
    return *result == 1;
  };
  for (const char *predicate : {"olt", "ole", "one", "ult", "ule", "une", "ord", "true"})
    CHECK(isSelected(predicate, 0.5, 1));
  for (const char *predicate : {"ogt", "oge", "oeq", "ugt", "uge", "ueq", "uno", "false"})
    CHECK_FALSE(isSelected(predicate, 0.5, 1));
  // A product with NaN is NaN everywhere in the row, so both sides compare unordered.
  for (const char *predicate : {"ugt", "ueq", "ult", "une", "uno", "true"})
    CHECK(isSelected(predicate, NAN, 1));
  for (const char *predicate : {"ogt", "oeq", "olt", "one", "ord", "false"})
    CHECK_FALSE(isSelected(predicate, NAN, 1));
}

TEST_CASE("an op that the reference does not know is an error that names it", "[compiler][reference]") {
  Result<double> result = activate("      %h = math.acosh %g : f32\n      moe.yield %h : f32", 1, 1);
  if (result.ok()) // an MLIR without such an op could not have parsed it
    FAIL("math.acosh was evaluated");
  CHECK(result.status().message() == "layer: moe.shared_ffn: the activation holds 'math.acosh', "
                                     "which the reference does not know");
}
