#include "compiler/codegen/cpu/LowerToLlvm.h"

#include "llvm/Analysis/CGSCCPassManager.h"
#include "llvm/Analysis/LoopAnalysisManager.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Utils/Mem2Reg.h"

#include <mutex>

namespace moec::codegen {

std::string cpuNameOf(CpuIsa isa) { return isa == CpuIsa::Avx2 ? "x86-64-v3" : "x86-64-v4"; }

std::string cpuFeaturesOf(CpuIsa isa) {
  switch (isa) {
  case CpuIsa::Avx2: return "";
  case CpuIsa::Avx512: return "-prefer-256-bit";
  case CpuIsa::Avx512Bf16: return "+avx512bf16,-prefer-256-bit";
  }
  return "";
}

static void initialiseX86() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
}

static Result<std::unique_ptr<llvm::TargetMachine>> makeTargetMachine(CpuIsa isa) {
  initialiseX86();
  llvm::Triple triple("x86_64-unknown-linux-gnu");
  std::string error;
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return makeError(Code::CompileFailed, "LLVM has no x86-64 target: {}", error);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard; // the order of sums is ours
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(triple, cpuNameOf(isa), cpuFeaturesOf(isa),
                                                                          options, llvm::Reloc::PIC_, std::nullopt,
                                                                          llvm::CodeGenOptLevel::Default));
}

/// The kernels arrive tiled, unrolled and vectorised. What is left is tidying: a full -O2 would spend most of the
/// compile budget on finding nothing.
static void tidy(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graph;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graph, modules);
  llvm::FunctionPassManager passes;
  passes.addPass(llvm::EarlyCSEPass(true));
  passes.addPass(llvm::InstCombinePass());
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LICMPass(llvm::LICMOptions()), /*UseMemorySSA=*/true));
  for (llvm::Function &function : module)
    if (!function.isDeclaration())
      passes.run(function, functions);
}

Result<std::vector<uint8_t>> emitObject(llvm::Module &module, CpuIsa isa, bool assembly) {
  Result<std::unique_ptr<llvm::TargetMachine>> machine = makeTargetMachine(isa);
  if (!machine)
    return machine.status();
  module.setTargetTriple((*machine)->getTargetTriple());
  module.setDataLayout((*machine)->createDataLayout());
  for (llvm::Function &function : module)
    if (!function.isDeclaration()) {
      function.addFnAttr("target-cpu", cpuNameOf(isa));
      function.addFnAttr("target-features", cpuFeaturesOf(isa));
      function.addFnAttr(llvm::Attribute::NoUnwind);
    }
  tidy(module, **machine);
  llvm::SmallVector<char, 0> buffer;
  llvm::raw_svector_ostream stream(buffer);
  llvm::legacy::PassManager emitter;
  auto type = assembly ? llvm::CodeGenFileType::AssemblyFile : llvm::CodeGenFileType::ObjectFile;
  if ((*machine)->addPassesToEmitFile(emitter, stream, nullptr, type))
    return makeError(Code::CompileFailed, "LLVM cannot emit {} for x86-64", assembly ? "assembly" : "an object");
  emitter.run(module);
  return std::vector<uint8_t>(buffer.begin(), buffer.end());
}

} // namespace moec::codegen
