//===- MoeDialect.td - the `moe` dialect: attributes and enums --------------===//
#ifndef MOE_DIALECT_TD
#define MOE_DIALECT_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def Moe_Dialect : Dialect {
  let name = "moe";
  let cppNamespace = "::moec::moe";
  let summary = "Mixture-of-Experts layers, from a model description to a list of kernel launches";
  let description = [{
    Tensors in, tensors out; SSA. One `func.func` with a `moe.layer` number is one MoE layer: it takes the hidden
    states `[T, H]` and returns the layer's output `[T, H]`.

    A module carries `moe.phase`, one of `input`, `grouped`, `sized`, `selected`, `planned`, `launches`; each phase has a
    verifier (`moe-verify-phase`) and each can be printed and resumed.

    Attributes that the dialect verifies wherever they stand: `moe.phase` is a phase's name and `moe.model` a string;
    `moe.layer` (the layer's number) and `moe.tokens` (tokens of the profile's typical step) are i64 and in 0..2^31-1;
    `moe.pairs` is an i32 array of no negative entry (pairs per expert of that step).

    Words: a *pair* is one token sent to one expert; *slots* are an implementation's rows for an expert and never
    change a result; *capacity* is a model's rule and does.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::func::FuncDialect"];
  let useDefaultAttributePrinterParser = 1;
  let hasOperationAttrVerify = 1;
}

def Moe_Scoring : I32EnumAttr<"ScoringKind", "how logits become scores", [
    I32EnumAttrCase<"Softmax", 0, "softmax">,
    I32EnumAttrCase<"Sigmoid", 1, "sigmoid">]> {
  let cppNamespace = "::moec::moe";
  let genSpecializedAttr = 0;
}
def Moe_ScoringAttr : EnumAttr<Moe_Dialect, Moe_Scoring, "scoring">;

def Moe_DropPolicy : I32EnumAttr<"DropPolicy", "which pairs a full expert drops", [
    I32EnumAttrCase<"Position", 0, "position">,
    I32EnumAttrCase<"Score", 1, "score">]> {
  let cppNamespace = "::moec::moe";
  let genSpecializedAttr = 0;
}
def Moe_DropPolicyAttr : EnumAttr<Moe_Dialect, Moe_DropPolicy, "drop_policy">;

def Moe_LaunchKind : I32EnumAttr<"LaunchKind", "what a launch does", [
    I32EnumAttrCase<"Router", 0, "router">, I32EnumAttrCase<"Route", 1, "route">,
    I32EnumAttrCase<"Dispatch", 2, "dispatch">, I32EnumAttrCase<"GateUp", 3, "gate_up">,
    I32EnumAttrCase<"Down", 4, "down">, I32EnumAttrCase<"SharedGateUp", 5, "shared_gate_up">,
    I32EnumAttrCase<"SharedDown", 6, "shared_down">, I32EnumAttrCase<"Store", 7, "store">]> {
  let cppNamespace = "::moec::moe";
  let genSpecializedAttr = 0;
}
def Moe_LaunchKindAttr : EnumAttr<Moe_Dialect, Moe_LaunchKind, "launch_kind">;

def Moe_CpuConfigAttr : AttrDef<Moe_Dialect, "CpuConfig"> {
  let mnemonic = "cpu_config";
  let summary = "compile-time choices of a layer's kernels on a CPU (compiler/core/Config.h)";
  let description = [{
    `isa` is `avx2`, `avx512` or `avx512bf16`; `compute` is `f32` or `bf16`; `rows` are the tile heights, descending.
    Example: `#moe.cpu_config<isa = "avx512bf16", compute = "bf16", rows = [14, 8, 4, 2, 1]>`.
  }];
  let parameters = (ins StringRefParameter<>:$isa, StringRefParameter<>:$compute, ArrayRefParameter<"int64_t">:$rows);
  let assemblyFormat = "`<` `isa` `=` $isa `,` `compute` `=` $compute `,` `rows` `=` `[` $rows `]` `>`";
  let genVerifyDecl = 1;
}

def Moe_CudaConfigAttr : AttrDef<Moe_Dialect, "CudaConfig"> {
  let mnemonic = "cuda_config";
  let summary = "compile-time choices of a layer's kernels on a GPU (compiler/core/Config.h)";
  let description = [{
    `element` is `bf16` or `f16`; the others are tiles of grouped GEMMs as `CudaTile::text` gives them.
    Example: `#moe.cuda_config<element = "bf16", gate_up = "hopper-128x256-s4-w2x1-b1", down = "hopper-128x256-s4-w2x1-b1",
    shared_gate_up = "portable-16x128-s5-w1x4-b2", shared_down = "portable-16x128-s5-w1x4-b2">`.
  }];
  let parameters = (ins StringRefParameter<>:$element, StringRefParameter<>:$gateUp, StringRefParameter<>:$down,
                    StringRefParameter<>:$sharedGateUp, StringRefParameter<>:$sharedDown);
  let assemblyFormat = [{
    `<` `element` `=` $element `,` `gate_up` `=` $gateUp `,` `down` `=` $down `,` `shared_gate_up` `=` $sharedGateUp `,`
    `shared_down` `=` $sharedDown `>`
  }];
  let genVerifyDecl = 1;
}

def Moe_LayerConfigAttr : AnyAttrOf<[Moe_CpuConfigAttr, Moe_CudaConfigAttr]>;

#endif // MOE_DIALECT_TD
