#include "ir/Moe.h"
#include "passes/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

namespace moec::passes {

llvm::StringRef phaseName(Phase phase) { return moe::kPhaseNames[static_cast<size_t>(phase)]; }

std::optional<Phase> parsePhase(llvm::StringRef name) {
  for (auto [index, known] : llvm::enumerate(moe::kPhaseNames))
    if (known == name)
      return static_cast<Phase>(index);
  return std::nullopt;
}

FailureOr<Phase> phaseOf(ModuleOp module) {
  auto name = module->getAttrOfType<StringAttr>(moe::kPhaseAttr);
  if (!name)
    return Phase::Input;
  if (std::optional<Phase> phase = parsePhase(name.getValue()))
    return *phase;
  module.emitError("unknown phase '") << name.getValue() << "'";
  return failure();
}

static void addVerifier(OpPassManager &passManager, Phase phase) {
  passManager.addPass(createVerifyPhase(VerifyPhaseOptions{phaseName(phase).str()}));
}

static void addPhase(OpPassManager &passManager, Phase phase) {
  OpPassManager &functions = passManager.nest<func::FuncOp>();
  switch (phase) {
  case Phase::Input: break;
  case Phase::Grouped:
    functions.addPass(createCanonicalizerPass());
    functions.addPass(createFuseRouting());
    functions.addPass(createFuseExperts());
    functions.addPass(createCanonicalizerPass());
    break;
  case Phase::Sized: functions.addPass(createAssignSlots()); break;
  case Phase::Selected: functions.addPass(createSelectConfigs()); break;
  case Phase::Planned: functions.addPass(createPlanMemory()); break;
  case Phase::Launches: functions.addPass(createLowerToLaunches()); break;
  }
  addVerifier(passManager, phase);
}

void addPhases(OpPassManager &passManager, Phase from, Phase to) {
  addVerifier(passManager, from);
  for (int phase = static_cast<int>(from) + 1; phase <= static_cast<int>(to); ++phase)
    addPhase(passManager, static_cast<Phase>(phase));
}

namespace {
struct LowerOptions : PassPipelineOptions<LowerOptions> {
  // Of the phases' own type, so that an unknown one is the command line's error.
  Option<Phase> to{*this, "to", llvm::cl::desc("last phase"), llvm::cl::init(Phase::Launches), phaseValues()};

  static llvm::cl::ValuesClass phaseValues() {
    return llvm::cl::values(
        clEnumValN(Phase::Grouped, "grouped", "fused regions"), clEnumValN(Phase::Sized, "sized", "slots"),
        clEnumValN(Phase::Selected, "selected", "a config per kernel, classes of experts"),
        clEnumValN(Phase::Planned, "planned", "memory"), clEnumValN(Phase::Launches, "launches", "a list of launches"));
  }
};
} // namespace

void registerAll() {
  registerMoePasses();
  PassPipelineRegistration<LowerOptions>("moe-lower",
                                         "Lower a model from phase input to phase `to`, verifying each phase",
                                         [](OpPassManager &passManager, const LowerOptions &options) {
                                           addPhases(passManager, Phase::Input, options.to);
                                         });
}

} // namespace moec::passes
