// Activation regions as device functors.
#include "compiler/codegen/cuda/Functor.h"
#include "compiler/import/Activation.h"
#include "compiler/jit/KernelBuild.h"
#include "compiler/jit/ShippedKernels.h"
#include "tests/unit/Catch.h"
#include "tests/unit/compiler/FunctorFixtures.h"

using namespace moec;
using namespace moec::tests;
using importer::Activation;

namespace {

Result<Functor> functorOfLines(const std::string &lines) { return ParsedRegion(blockOfLines(lines)).functor(); }

std::string bodyOfLines(const std::string &lines) {
  Result<Functor> functor = functorOfLines(lines);
  INFO(functor.status().message());
  REQUIRE(functor.ok());
  return functor->body;
}

/// The smallest product that applies the functor, for the oldest GPU.
Status compiles(const Functor &functor) {
  const GemmConfig gemm = shippedGemms(GemmFamily::Portable, Element::BF16, GemmRole::GateUp).front();
  KernelJob job{"job", {}, 0, 0};
  job.unit.files = {KernelFile::GroupedGemmPortable};
  job.unit.functors = {functor};
  job.unit.kernels = {gemmPortableKernel(gemm, functor.name)};
  return buildKernels({job}, "sm_80", {}, {}).status();
}

} // namespace

TEST_CASE("SiLU is a statement an op, constants in their places", "[compiler][cuda]") {
  Result<Functor> functor = ParsedRegion(importer::activationBlock(Activation::Silu)).functor();
  REQUIRE(functor.ok());
  CHECK(functor->name == codegen::kFunctorName);
  CHECK(functor->body == "    const float v0 = -gate;\n"
                         "    const float v1 = __expf(v0);\n"
                         "    const float v2 = v1 + 1.0f;\n"
                         "    const float v3 = ptx::divide(gate, v2);\n"
                         "    const float v4 = v3 * up;\n"
                         "    return v4;");
}

TEST_CASE("every activation of the importer becomes a functor that compiles", "[compiler][cuda]") {
  for (Activation activation : {Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::GeluQuick,
                                Activation::Relu, Activation::ClampedSwiglu}) {
    CAPTURE(static_cast<int>(activation));
    Result<Functor> functor = ParsedRegion(importer::activationBlock(activation)).functor();
    REQUIRE(functor.ok());
    const Status status = compiles(*functor);
    CHECK(status.message() == "");
  }
}

TEST_CASE("every op of the table becomes CUDA that compiles", "[compiler][cuda]") {
  // All of them in one region, each with a result of its own; their sum is yielded.
  std::string lines, sum = "%g";
  int number = 0;
  for (const std::string &op : codegen::functorOps()) {
    const std::string name = fmt::format("%r{}", number++);
    lines += linesOf(op, name);
    lines += fmt::format("      {0}s = arith.addf {1}, {0} : f32\n", name, sum);
    sum = name + "s";
  }
  lines += fmt::format("      %h = arith.mulf {}, %u : f32\n", sum);
  Result<Functor> functor = functorOfLines(lines);
  INFO(functor.status().message());
  REQUIRE(functor.ok());
  const Status status = compiles(*functor);
  CHECK(status.message() == "");
}

TEST_CASE("comparisons treat NaN as LLVM does", "[compiler][cuda]") {
  // Ordered ones are false with a NaN, unordered ones true: C++'s operators are ordered, but for !=.
  const std::pair<const char *, const char *> expected[] = {{"oeq", "gate == up"},
                                                            {"ogt", "gate > up"},
                                                            {"oge", "gate >= up"},
                                                            {"olt", "gate < up"},
                                                            {"ole", "gate <= up"},
                                                            {"one", "gate < up || gate > up"},
                                                            {"ord", "gate == gate && up == up"},
                                                            {"ueq", "!(gate < up || gate > up)"},
                                                            {"ugt", "!(gate <= up)"},
                                                            {"uge", "!(gate < up)"},
                                                            {"ult", "!(gate >= up)"},
                                                            {"ule", "!(gate > up)"},
                                                            {"une", "gate != up"},
                                                            {"uno", "gate != gate || up != up"},
                                                            {"true", "true"},
                                                            {"false", "false"}};
  for (auto [predicate, text] : expected) {
    CAPTURE(predicate);
    const std::string body = bodyOfLines(
        fmt::format("      %c = arith.cmpf {}, %g, %u : f32\n      %h = arith.select %c, %g, %u : f32\n", predicate));
    CHECK(body == fmt::format("    const bool v0 = {};\n    const float v1 = v0 ? gate : up;\n    return v1;", text));
  }
}

TEST_CASE("constants keep their bits", "[compiler][cuda]") {
  auto constant = [](const std::string &value) {
    return bodyOfLines(fmt::format("      %c = arith.constant {} : f32\n      %h = arith.mulf %g, %c : f32\n", value));
  };
  auto product = [](const std::string &text) {
    return fmt::format("    const float v0 = gate * {};\n    return v0;", text);
  };
  CHECK(constant("1.0") == product("1.0f"));
  CHECK(constant("0.044715") == product("0.044715f"));
  CHECK(constant("1.0e-30") == product("1e-30f"));
  CHECK(constant("-1.702") == product("(-1.702f)")); // in brackets: - -1.7 must not become --
  CHECK(constant("-0.0") == product("(-0.0f)"));
  CHECK(constant("0x7F800000") == product("__int_as_float(0x7f800000)"));
  CHECK(constant("0xFFC00001") == product("__int_as_float(0xffc00001)"));
  CHECK(constant("0x00000001") == product("1e-45f")); // the smallest subnormal
}

TEST_CASE("an op that the table lacks is an error that names it", "[compiler][cuda]") {
  Result<Functor> functor = functorOfLines("      %c = arith.cmpf olt, %g, %u : f32\n"
                                           "      %d = arith.cmpi eq, %c, %c : i1\n"
                                           "      %h = arith.select %d, %g, %u : f32\n");
  CHECK(functor.status().code() == Code::InvalidModel);
  CHECK(functor.status().message().find("'arith.cmpi'") != std::string::npos);
}
