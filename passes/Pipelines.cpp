#include "ir/Moe.h"
#include "passes/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

namespace moec::passes {

static constexpr llvm::StringRef names[] = {"input", "grouped", "sized", "selected", "planned", "launches"};

llvm::ArrayRef<llvm::StringRef> phaseNames() { return names; }
llvm::StringRef phaseName(Phase phase) { return names[static_cast<size_t>(phase)]; }

std::optional<Phase> parsePhase(llvm::StringRef name) {
  for (auto [index, known] : llvm::enumerate(names))
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
  Option<std::string> to{*this, "to", llvm::cl::desc("last phase: grouped, sized, selected, planned or launches"),
                         llvm::cl::init("launches")};
};
} // namespace

void registerAll() {
  registerMoePasses();
  PassPipelineRegistration<LowerOptions>(
      "moe-lower", "Lower a model from phase input to phase `to`, verifying each phase",
      [](OpPassManager &passManager, const LowerOptions &options) {
        std::optional<Phase> to = parsePhase(options.to);
        if (!to)
          llvm::report_fatal_error("moe-lower: unknown phase '" + llvm::Twine(options.to) + "'", false);
        addPhases(passManager, Phase::Input, *to);
      });
}

} // namespace moec::passes
