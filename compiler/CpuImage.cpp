#include "compiler/CpuImage.h"

#include "compiler/Diagnostics.h"
#include "compiler/codegen/cpu/KernelBuilder.h"
#include "compiler/codegen/cpu/LowerToLlvm.h"
#include "compiler/core/Keys.h"
#include "ir/Moe.h"
#include "passes/PlanFromIr.h"

#include "llvm/Config/llvm-config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <set>

using namespace mlir;

namespace moec {
namespace {

class Stopwatch {
public:
  double lapMs() {
    auto now = std::chrono::steady_clock::now();
    double ms = std::chrono::duration<double, std::milli>(now - last).count();
    last = now;
    return ms;
  }

private:
  std::chrono::steady_clock::time_point last = std::chrono::steady_clock::now();
};

LaunchKind toKind(moe::LaunchKind kind) { return static_cast<LaunchKind>(kind); }
static_assert(static_cast<int>(LaunchKind::Store) == static_cast<int>(moe::LaunchKind::Store));

CpuRole roleOf(LaunchKind kind) {
  switch (kind) {
  case LaunchKind::GateUp:
  case LaunchKind::SharedGateUp: return CpuRole::GateUp;
  case LaunchKind::Router: return CpuRole::Router;
  default: return CpuRole::Down;
  }
}

std::string printRegion(Region &region) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  OpPrintingFlags flags;
  flags.printGenericOpForm().useLocalScope();
  for (Operation &op : region.front())
    op.print(stream, flags), stream << '\n';
  return text;
}

/// The router is a small part of a step: two heights serve it, and their kernels are not worth more compile time.
std::vector<uint16_t> heightsOf(LaunchKind kind, const CpuConfig &config) {
  if (kind != LaunchKind::Router)
    return config.tileRows;
  uint16_t tall = std::min<uint16_t>(config.tileRows.front(), 8);
  return tall > 1 ? std::vector<uint16_t>{tall, 1} : std::vector<uint16_t>{1};
}

/// Which of the layer's distinct activations a launch has; a new one is added. 0 for a launch without.
uint32_t activationIndex(moe::LaunchOp op, LayerCode &code) {
  if (op.getActivation().empty())
    return 0;
  std::string text = printRegion(op.getActivation());
  auto found = std::find(code.activations.begin(), code.activations.end(), text);
  if (found == code.activations.end())
    found = code.activations.insert(found, text);
  return static_cast<uint32_t>(found - code.activations.begin());
}

/// Adds a GEMM's kernels to `code` once each, and names them in the launch.
void addGemm(moe::LaunchOp op, LayerCode &code, std::set<std::string> &have, Launch &launch) {
  launch.k = static_cast<uint32_t>(*op.getK());
  launch.columns = static_cast<uint32_t>(*op.getColumns());
  Region *activation = op.getActivation().empty() ? nullptr : &op.getActivation();
  uint32_t index = activationIndex(op, code);
  for (uint16_t rows : heightsOf(launch.kind, code.config)) {
    codegen::TileKernelSpec spec{roleOf(launch.kind),  rows, launch.k, activation, index, op.getBiased(),
                                 op.getWeightOnInput()};
    std::string symbol = codegen::symbolOf(spec);
    launch.kernels.push_back({rows, symbol});
    if (have.insert(symbol).second)
      code.tiles.push_back(spec);
  }
  codegen::PackKernelSpec pack{launch.k};
  launch.pack = {0, codegen::symbolOf(pack)};
  if (have.insert(launch.pack.symbol).second)
    code.packs.push_back(pack);
}

} // namespace

LayerCode codeOf(func::FuncOp layer) {
  LayerCode code;
  code.context = layer.getContext();
  std::set<std::string> have;
  for (auto op : layer.getOps<moe::LaunchOp>()) {
    Launch launch;
    launch.kind = toKind(op.getKind());
    if (op.getConfig()) {
      code.config = passes::fromAttribute(*op.getConfig()).cpu;
      addGemm(op, code, have, launch);
    }
    code.launches.push_back(launch);
  }
  return code;
}

std::string imageKey(const LayerCode &code) {
  std::vector<std::string> symbols;
  for (const codegen::TileKernelSpec &spec : code.tiles)
    symbols.push_back(codegen::symbolOf(spec));
  for (const codegen::PackKernelSpec &spec : code.packs)
    symbols.push_back(codegen::symbolOf(spec));
  ArtefactKey key;
  key.config = code.config.text();
  key.shape = fmt::format("{}", fmt::join(symbols, " "));
  key.activation = fmt::format("{}", fmt::join(code.activations, "---\n"));
  key.codegen = fmt::format("llvm {} cpu {} codegen 1", LLVM_VERSION_STRING, codegen::cpuNameOf(code.config.isa));
  key.cpuFeatures = codegen::cpuFeaturesOf(code.config.isa);
  key.abiVersion = kCpuAbiVersion;
  return key.text();
}

/// Kernel MLIR of `code`, verified and legal, in the context of its regions.
static Result<OwningOpRef<ModuleOp>> kernelModule(const LayerCode &code, MLIRContext &context, DiagnosticLog &log) {
  OwningOpRef<ModuleOp> module = codegen::buildKernels(context, code.config, code.tiles, code.packs);
  if (failed(module->verify()) || failed(codegen::verifyLegality(*module, code.config.isa)))
    return makeError(Code::CompileFailed, "the kernels of {} are not valid: {}", code.config.text(), log.text());
  return module;
}

Result<std::vector<uint8_t>> buildImage(const LayerCode &code, StageTimes &times) {
  Stopwatch watch;
  MLIRContext &context = *code.context;
  DiagnosticLog log(context);
  Result<OwningOpRef<ModuleOp>> module = kernelModule(code, context, log);
  if (!module)
    return module.status();
  if (failed(codegen::lowerToLlvmDialect(**module)))
    return makeError(Code::CompileFailed, "the kernels of {} do not lower to LLVM: {}", code.config.text(), log.text());
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> llvmModule = codegen::translate(**module, llvmContext);
  if (!llvmModule)
    return makeError(Code::CompileFailed, "the kernels of {} do not translate to LLVM IR: {}", code.config.text(),
                     log.text());
  times["mlir"] += watch.lapMs();
  Result<std::vector<uint8_t>> object = codegen::emitObject(*llvmModule, code.config.isa);
  times["llvm"] += watch.lapMs();
  if (!object)
    return object;
  Result<std::vector<uint8_t>> image = codegen::linkSharedObject(*object);
  times["link"] += watch.lapMs();
  return image;
}

Result<std::string> emitText(const LayerCode &code, const std::string &kind) {
  MLIRContext &context = *code.context;
  DiagnosticLog log(context);
  Result<OwningOpRef<ModuleOp>> module = kernelModule(code, context, log);
  if (!module)
    return module.status();
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (kind == "kernels") {
    (*module)->print(stream);
    return text;
  }
  if (failed(codegen::lowerToLlvmDialect(**module)))
    return makeError(Code::CompileFailed, "the kernels do not lower to LLVM: {}", log.text());
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> llvmModule = codegen::translate(**module, llvmContext);
  if (!llvmModule)
    return makeError(Code::CompileFailed, "the kernels do not translate to LLVM IR: {}", log.text());
  if (kind == "llvm") {
    llvmModule->print(stream, nullptr);
    return text;
  }
  Result<std::vector<uint8_t>> assembly = codegen::emitObject(*llvmModule, code.config.isa, /*assembly=*/true);
  if (!assembly)
    return assembly.status();
  return std::string(assembly->begin(), assembly->end());
}

} // namespace moec
