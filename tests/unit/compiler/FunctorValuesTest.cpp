// What functors compute, against the reference evaluator: their text, compiled for this machine with C++'s own
// functions in the places of CUDA's. Which value goes where, NaN and infinity are the same on both; units in the last
// place are not.
#include "compiler/codegen/cuda/Functor.h"
#include "compiler/import/Activation.h"
#include "ir/reference/ActivationRegion.h"
#include "tests/unit/Catch.h"
#include "tests/unit/compiler/FunctorFixtures.h"

#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <unistd.h>

using namespace moec;
using namespace moec::tests;
using importer::Activation;
namespace fs = std::filesystem;

namespace {

constexpr const char *shims = R"(#include <bit>
#include <cmath>
using namespace std;
#define __expf expf
static float rsqrtf(float x) { return 1 / sqrtf(x); }
static float __int_as_float(unsigned bits) { return bit_cast<float>(bits); }
namespace ptx {
static float maxNan(float a, float b) { return isnan(a) || isnan(b) ? NAN : fmaxf(a, b); }
static float minNan(float a, float b) { return isnan(a) || isnan(b) ? NAN : fminf(a, b); }
static float divide(float a, float b) { return a / b; }
static float squareRoot(float a) { return sqrtf(a); }
}
)";

struct Case {
  std::string name;
  std::unique_ptr<ParsedRegion> region;
  bool isOp = true; // else several, whose f32 in between is not the reference's f64: only their usual range is compared
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::string &op : codegen::functorOps())
    all.push_back({op, std::make_unique<ParsedRegion>(blockOfLines(linesOf(op, "%h")))});
  for (const char *predicate : {"oeq", "ogt", "oge", "olt", "ole", "one", "ord", "ueq", "ugt", "uge", "ult", "ule",
                                "une", "uno", "true", "false"})
    all.push_back(
        {fmt::format("arith.cmpf {}", predicate),
         std::make_unique<ParsedRegion>(blockOfLines(fmt::format(
             "      %c = arith.cmpf {}, %g, %u : f32\n      %h = arith.uitofp %c : i1 to f32\n", predicate)))});
  for (Activation activation : {Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::GeluQuick,
                                Activation::Relu, Activation::ClampedSwiglu})
    all.push_back({fmt::format("activation {}", static_cast<int>(activation)),
                   std::make_unique<ParsedRegion>(importer::activationBlock(activation)), false});
  return all;
}

/// Functors of all cases in one shared object; null where this machine has no C++ compiler any more.
void *compileForThisMachine(std::vector<Case> &all) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("moec-functors-{}", getpid());
  fs::create_directories(folder);
  std::ofstream source(folder / "functors.cpp");
  source << shims;
  for (size_t i = 0; i < all.size(); ++i) {
    Result<Functor> functor = all[i].region->functor();
    INFO(all[i].name << ": " << functor.status().message());
    REQUIRE(functor.ok());
    source << fmt::format("extern \"C\" float f{}(float gate, float up) {{\n{}\n}}\n", i, functor->body);
  }
  source.close();
  const std::string command =
      fmt::format("'{0}' -std=c++20 -O1 -ffp-contract=off -fno-fast-math -shared -fPIC -o '{1}/functors.so' "
                  "'{1}/functors.cpp'",
                  MOEC_TEST_CXX, folder.string());
  const int failed = std::system(command.c_str());
  REQUIRE(failed == 0);
  void *library = dlopen((folder / "functors.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library);
  fs::remove_all(folder);
  return library;
}

bool close(float have, double exact) {
  const float want = static_cast<float>(exact);
  if (std::isnan(want) || std::isnan(have))
    return std::isnan(want) && std::isnan(have);
  if (std::isinf(want) || std::isinf(have))
    return want == have;
  return std::fabs(have - want) <= 3e-6f * std::fabs(want) + 1e-6f;
}

} // namespace

TEST_CASE("functors compute what the reference does, NaN and infinities included", "[compiler][cuda]") {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const float inputs[] = {-inf, -200.0f, -3.5f, -2.5f, -1.0f, -0.3f, -0.0f, 0.0f, 1e-30f,
                          0.5f, 1.0f,    1.5f,  2.5f,  7.25f, 90.0f, 1e30f, inf,  nan};
  std::vector<Case> all = cases();
  void *library = compileForThisMachine(all);
  size_t compared = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    Result<reference::Activation> exact = all[i].region->reference();
    if (!exact) // the reference knows fewer ops
      continue;
    ++compared;
    auto functor = reinterpret_cast<float (*)(float, float)>(dlsym(library, fmt::format("f{}", i).c_str()));
    REQUIRE(functor);
    for (float gate : inputs)
      for (float up : inputs) {
        if (!all[i].isOp && (!std::isfinite(gate) || std::fabs(up) > 2))
          continue;
        const float have = functor(gate, up);
        const double want = (*exact)(gate, up);
        if (!close(have, want))
          FAIL_CHECK(all[i].name << " of " << gate << " and " << up << " is " << have << ", expected " << want);
      }
  }
  CHECK(compared >= 60);
}
