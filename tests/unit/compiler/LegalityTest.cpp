// What a CPU cannot execute is refused before LLVM sees it, by name: LLVM would abort.
#include "compiler/Diagnostics.h"
#include "compiler/codegen/cpu/KernelBuilder.h"
#include "tests/unit/Catch.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Parser/Parser.h"

using namespace moec;

namespace {

/// verifyLegality's diagnostic for a kernel with this body; empty where it is legal.
std::string refusal(const std::string &body, CpuIsa isa) {
  mlir::DialectRegistry registry;
  codegen::registerKernelDialects(registry);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  DiagnosticLog log(context);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(
      "llvm.func @kernel(%p: !llvm.ptr) {\n" + body + "\nllvm.return\n}", mlir::ParserConfig(&context));
  INFO(log.text());
  REQUIRE(module);
  const bool legal = mlir::succeeded(codegen::verifyLegality(*module, isa));
  CHECK(legal == log.text().empty());
  return log.text();
}

const char *const bf16Dot = R"(
  %sum = arith.constant dense<0.0> : vector<16xf32>
  %a = arith.constant dense<1.0> : vector<32xbf16>
  %r = x86vector.avx512.dot %sum, %a, %a : vector<32xbf16> -> vector<16xf32>)";
const char *const bf16DotOf256Bits = R"(
  %sum = arith.constant dense<0.0> : vector<8xf32>
  %a = arith.constant dense<1.0> : vector<16xbf16>
  %r = x86vector.avx512.dot %sum, %a, %a : vector<16xbf16> -> vector<8xf32>)";

std::string sumOf(const std::string &type) {
  return "%a = arith.constant dense<1.0> : " + type + "\n%r = arith.addf %a, %a : " + type;
}

bool contains(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

} // namespace

TEST_CASE("an x86vector op is refused by name where the ISA lacks it", "[compiler][legality]") {
  // Of 256 bits, so that it is the op and not its width that AVX2 cannot run.
  CHECK(contains(refusal(bf16DotOf256Bits, CpuIsa::Avx2), "'x86vector.avx512.dot' cannot run on avx2"));
  CHECK(contains(refusal(bf16DotOf256Bits, CpuIsa::Avx512), "'x86vector.avx512.dot' cannot run on avx512"));
  CHECK(refusal(bf16DotOf256Bits, CpuIsa::Avx512Bf16).empty());
  CHECK(refusal(bf16Dot, CpuIsa::Avx512Bf16).empty());
}

TEST_CASE("a vector wider than the ISA's registers is refused with its bits", "[compiler][legality]") {
  CHECK(contains(refusal(sumOf("vector<16xf32>"), CpuIsa::Avx2),
                 "a vector of 512 bits is wider than the registers of avx2"));
  CHECK(contains(refusal(sumOf("vector<32xbf16>"), CpuIsa::Avx2),
                 "a vector of 512 bits is wider than the registers of avx2"));
  CHECK(contains(refusal(sumOf("vector<17xf32>"), CpuIsa::Avx512),
                 "a vector of 544 bits is wider than the registers of avx512"));
  CHECK(contains(refusal(sumOf("vector<4x16xf32>"), CpuIsa::Avx512Bf16), "a vector of 2048 bits"));
  CHECK(refusal(sumOf("vector<8xf32>"), CpuIsa::Avx2).empty());
  CHECK(refusal(sumOf("vector<16xf32>"), CpuIsa::Avx512).empty());
  CHECK(refusal("%a = arith.constant 1.0 : f64", CpuIsa::Avx2).empty());
}

TEST_CASE("kernels built for one ISA are refused on a lesser one", "[compiler][legality]") {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  DiagnosticLog log(context);
  for (CpuIsa built : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16})
    for (CpuIsa runs : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16}) {
      CpuConfig config;
      config.isa = built;
      config.compute = DType::BF16;
      config.tileRows = {4, 1};
      auto module = codegen::buildKernels(context, config, {{.role = CpuRole::Down, .rows = 4, .k = 64}}, {});
      REQUIRE(module);
      INFO(isaName(built) << " on " << isaName(runs));
      CHECK(mlir::succeeded(codegen::verifyLegality(*module, runs)) == (built <= runs));
    }
}
