//===- Passes.td - the passes between the phases -----------------------------===//
#ifndef MOE_PASSES_TD
#define MOE_PASSES_TD

include "mlir/Pass/PassBase.td"

def FuseRouting : Pass<"moe-fuse-routing", "::mlir::func::FuncOp"> {
  let summary = "Fuse router, scoring, top-k, renormalisation and scale into moe.route";
  let description = [{
    Follows the weights of each `moe.top_k` down to the last `moe.score`, `moe.normalize` or `moe.scale` in that order, and its
    scores up to the `moe.router`. Before: any of these ops. After: none, where the chain is complete; a chain in another
    order, or whose inner values have other users, is left alone, and `moe-verify-phase` then names it.
  }];
  let dependentDialects = ["::moec::moe::MoeDialect"];
  let statistics = [Statistic<"numFused", "num-fused", "Number of routing chains fused">];
}

def FuseExperts : Pass<"moe-fuse-experts", "::mlir::func::FuncOp"> {
  let summary = "Fuse dispatch, expert FFN, combine and the pair counts into moe.grouped_ffn";
  let description = [{
    Before: `moe.dispatch`, `moe.expert_ffn`, `moe.combine` on the same ids. After: one `moe.grouped_ffn`; a `moe.count_pairs` of
    the same ids becomes its second result. A dispatch with a capacity drops pairs and is not fused, nor are weights on both
    sides of the experts or on neither.
  }];
  let dependentDialects = ["::moec::moe::MoeDialect"];
  let statistics = [Statistic<"numFused", "num-fused", "Number of expert groups fused">];
}

def AssignSlots : Pass<"moe-assign-slots", "::mlir::func::FuncOp"> {
  let summary = "Give each expert its slots from the routing profile";
  let description = [{
    Writes the slots of planLayer's answer. Before: `moe.grouped_ffn` without slots. After: every one has them.
    The profile is the function's `moe.tokens` and `moe.pairs`; absent, uniform routing of `tokens` tokens.
  }];
  let options = [Option<"tokens", "tokens", "int64_t", "256", "tokens of a step where the layer has no profile">];
  let statistics = [Statistic<"numSlots", "num-slots", "Slots given in all">];
}

def SelectConfigs : Pass<"moe-select-configs", "::mlir::func::FuncOp"> {
  let summary = "Choose the kernels' config and each expert's class";
  let description = [{
    Writes config, packed experts and order of planLayer's answer. Before: slots. After: every `moe.grouped_ffn` has a
    config, `packed` and `order`.
  }];
  let options = [Option<"tokens", "tokens", "int64_t", "256", "tokens of a step where the layer has no profile">];
  let dependentDialects = ["::moec::moe::MoeDialect"];
  let statistics = [Statistic<"numPacked", "num-packed", "Experts whose weights are kept packed">];
}

def PlanMemory : Pass<"moe-plan-memory", "::mlir::func::FuncOp"> {
  let summary = "Lay out the buffers between the kernels";
  let description = [{
    Gives the row strides of the slot buffer and of the intermediate buffer, in elements: whole cache lines, an odd number of
    them, so that the rows of a tile do not share cache sets. Before: a config. After: both strides.
  }];
  let statistics = [Statistic<"numBytes", "num-bytes", "Bytes of both buffers for the slots given">];
}

def LowerToLaunches : Pass<"moe-lower-to-launches", "::mlir::func::FuncOp"> {
  let summary = "Turn a planned layer into its list of launches";
  let description = [{
    Before: `moe.route`, `moe.shared_ffn` and `moe.grouped_ffn` with all their choices. After: `moe.launch` ops and weights only, in
    the order in which they run. On a GPU a shared expert that looks like a routed one (size, activation, format of the weights; no
    biases, no weights on inputs) has no launches of its own: those of the routed ones are `joined`.
  }];
  let dependentDialects = ["::moec::moe::MoeDialect"];
  let statistics = [Statistic<"numLaunches", "num-launches", "Number of launches">];
}

def VerifyPhase : Pass<"moe-verify-phase", "::mlir::ModuleOp"> {
  let summary = "Check what holds after a phase, and mark the module with it";
  let description = [{
    `input`: one function per layer, hidden states in and out. `grouped`: only moe.weight, moe.route, moe.shared_ffn and
    moe.grouped_ffn. `sized`: all slots. `selected`: all configs, packed, order. `planned`: all strides. `launches`: only weights
    and launches. Fails with the op that breaks it.
  }];
  let options = [Option<"phase", "phase", "std::string", "\"input\"",
                        "input, grouped, sized, selected, planned or launches">];
}

#endif // MOE_PASSES_TD
