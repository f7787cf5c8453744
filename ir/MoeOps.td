//===- MoeOps.td - the ops of the `moe` dialect ------------------------------===//
#ifndef MOE_OPS_TD
#define MOE_OPS_TD

include "ir/MoeDialect.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"

class Moe_Op<string mnemonic, list<Trait> traits = []> : Op<Moe_Dialect, mnemonic, traits>;

// Token and pair tensors have a dynamic first dimension, T.
def Moe_Tokens : RankedTensorOf<[BF16, F16, F32]>;
def Moe_F32Tensor : RankedTensorOf<[F32]>;
def Moe_Ids : RankedTensorOf<[I32]>;
def Moe_WeightTensor : StaticShapeTensorOf<[BF16, F16, F32]>;

def Moe_WeightOp : Moe_Op<"weight", [Pure]> {
  let summary = "A weight of the checkpoint, by name";
  let description = [{
    `{e}` in the name stands for an expert's number; the tensor's first dimension is then the experts.

    `block_e4m3`: the checkpoint holds it in e4m3, with an f32 scale for each 128 by 128 elements of its last two
    dimensions; its value is their product, and a target may multiply it in e4m3, tokens quantised alike.

    (C1) The name is not empty and holds no control characters.
    (C2) A name with `{e}` has a tensor of rank 2 or more.
    (C3) Each dimension is in 1..2^28.
    (C4) `block_e4m3` is on matrices only: rank 2, or rank 3 with `{e}` in the name.
  }];
  let arguments = (ins StrAttr:$name, UnitAttr:$block_e4m3);
  let results = (outs Moe_WeightTensor:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Moe_RouterOp : Moe_Op<"router", [Pure]> {
  let summary = "Router logits: hidden states times the router's weight, in f32";
  let description = [{
    `logits[t, e] = sum_h hidden[t, h] * weight[e, h] + bias[e]`, summed in f32 or better whatever the operands' dtype.

    (C1) `hidden` is `[T, H]` and `weight` is `[E, H]`, with the same `H`.
    (C2) `bias`, if present, is `[E]`.
    (C3) `logits` is f32 `[T, E]`.
  }];
  let arguments = (ins Moe_Tokens:$hidden, Moe_WeightTensor:$weight, Optional<Moe_WeightTensor>:$bias);
  let results = (outs Moe_F32Tensor:$logits);
  let assemblyFormat = [{
    $hidden `,` $weight (`bias` $bias^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Moe_ScoreOp : Moe_Op<"score", [Pure, SameOperandsAndResultType]> {
  let summary = "Scores from logits, per token, over the last dimension";
  let description = [{
    `softmax`: `exp(x - max) / sum`. `sigmoid`: `1 / (1 + exp(-x))`, each entry for itself. Before `moe.top_k` the last
    dimension is the experts; after it, the chosen K.

    (C1) `logits` is f32 of rank 2.
  }];
  let arguments = (ins Moe_ScoringAttr:$kind, Moe_F32Tensor:$logits);
  let results = (outs Moe_F32Tensor:$scores);
  let assemblyFormat = "$kind $logits attr-dict `:` type($logits)";
  let hasVerifier = 1;
}

def Moe_TopKOp : Moe_Op<"top_k", [Pure]> {
  let summary = "The K best experts of each token, and their scores";
  let description = [{
    Experts are chosen by `scores + correction` (`correction` steers the choice only; the weights are plain scores), best
    first; ties go to the lower expert. With `groups > 1` the experts are split into equal groups in order, a group's
    score is the sum of its `group_top` best, and only experts of the `groups_picked` best groups can be chosen.

    (C1) `scores` is f32 `[T, E]`; `correction`, if present, is `[E]`.
    (C2) `1 <= k <= E`.
    (C3) `groups` divides E, `1 <= groups_picked <= groups`, `1 <= group_top <= E / groups`.
    (C4) The picked groups hold at least `k` experts.
    (C5) `ids` is i32 `[T, k]`, `weights` f32 `[T, k]`, with the T of `scores`.
  }];
  let arguments = (ins Moe_F32Tensor:$scores, Optional<Moe_WeightTensor>:$correction, I64Attr:$k,
                   DefaultValuedAttr<I64Attr, "1">:$groups, DefaultValuedAttr<I64Attr, "1">:$groups_picked,
                   DefaultValuedAttr<I64Attr, "1">:$group_top);
  let results = (outs Moe_Ids:$ids, Moe_F32Tensor:$weights);
  let assemblyFormat = [{
    $scores (`correction` $correction^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Moe_NormalizeOp : Moe_Op<"normalize", [Pure, SameOperandsAndResultType]> {
  let summary = "Divide each token's weights by their sum plus epsilon";
  let description = [{
    Folds away behind a softmax over the same entries, whose sum is 1 already, where `epsilon` is 0.

    (C1) `weights` is f32 of rank 2.
    (C2) `epsilon` is finite and not negative.
  }];
  let arguments = (ins Moe_F32Tensor:$weights, DefaultValuedAttr<F64Attr, "0.0">:$epsilon);
  let results = (outs Moe_F32Tensor:$result);
  let assemblyFormat = "$weights attr-dict `:` type($weights)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Moe_ScaleOp : Moe_Op<"scale", [Pure, SameOperandsAndResultType]> {
  let summary = "Multiply each weight by a constant";
  let description = [{
    Folds away for a factor of 1; two scales in a row become one.

    (C1) `weights` is f32 of rank 2.
    (C2) `factor` is finite.
  }];
  let arguments = (ins Moe_F32Tensor:$weights, F64Attr:$factor);
  let results = (outs Moe_F32Tensor:$result);
  let assemblyFormat = "$weights `by` $factor attr-dict `:` type($weights)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Moe_CountPairsOp : Moe_Op<"count_pairs", [Pure]> {
  let summary = "Pairs per expert: what the recompilation loop watches";
  let description = [{
    `counts[e]` is the number of pairs `(t, k)` with `ids[t, k] == e`; `-1` ids are padding and count nowhere.

    (C1) `ids` is i32 `[T, K]`; `counts` is i32 `[E]`; K and E are static, `1 <= K <= E`.
  }];
  let arguments = (ins Moe_Ids:$ids);
  let results = (outs Moe_Ids:$counts);
  let assemblyFormat = "$ids attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Moe_DispatchOp : Moe_Op<"dispatch", [Pure]> {
  let summary = "Copy each token into the buffer of every expert that it was routed to";
  let description = [{
    Row `slot[t, k]` of `buffer[ids[t, k]]` holds token `t`; an expert's pairs come in token order. `slot` is -1 for
    padding (`id == -1`) and for dropped pairs. With `weight_on_input` a row is its token times the pair's weight (a masked
    expert's is 0): the router's weight is then on what an expert takes in, and `moe.combine` has none.

    `capacity` is the model's rule: an expert computes at most so many pairs, the rest are dropped, the latest in token
    order (`position`) or the lowest `weights` (`score`). Absent: dropless. `slots` is the implementation's provision per
    expert: it never changes what is computed (pairs beyond it spill to a dynamic path).

    (C1) `tokens` is `[T, H]` with a static H and `ids` is i32 `[T, K]`; `weights`, if present, is f32 `[T, K]`.
    (C2) `buffer` is `[E, ?, H]` of the tokens' dtype; dim 1 is dynamic. `slot` is i32 `[T, K]`. K is static,
         `1 <= K <= E`.
    (C3) `capacity`, if present, is at least 1; `drop` needs a `capacity`, and `drop = score` needs `weights`.
    (C4) `slots`, if present, has one positive entry per expert.
    (C5) `weight_on_input` needs `weights`.
  }];
  let arguments = (ins Moe_Tokens:$tokens, Moe_Ids:$ids, Optional<Moe_F32Tensor>:$weights,
                   OptionalAttr<I64Attr>:$capacity, OptionalAttr<Moe_DropPolicyAttr>:$drop,
                   OptionalAttr<DenseI32ArrayAttr>:$slots, UnitAttr:$weight_on_input);
  let results = (outs Moe_Tokens:$buffer, Moe_Ids:$slot);
  let assemblyFormat = [{
    $tokens `,` $ids (`weights` $weights^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Moe_YieldOp : Moe_Op<"yield", [Pure, Terminator, ReturnLike,
    ParentOneOf<["ExpertFfnOp", "SharedFfnOp", "GroupedFfnOp", "LaunchOp"]>]> {
  let summary = "The value of an activation region";
  let arguments = (ins F32:$value);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

def Moe_ExpertFfnOp : Moe_Op<"expert_ffn", [Pure, IsolatedFromAbove, SingleBlock, AttrSizedOperandSegments]> {
  let summary = "Each expert's gated feed-forward network over its rows";
  let description = [{
    For every row `x` of expert `e`: `g = gate[e] x + gate_bias[e]`, `u = up[e] x + up_bias[e]`, `h = activation(g, u)`
    entry by entry in f32, `result = down[e] h + down_bias[e]`; absent biases are zero. The region is the activation: two
    f32 arguments, `arith` and `math` ops, one `moe.yield`.

    (C1) `buffer` is `[E, ?, H]`, dim 1 dynamic; `gate` and `up` are `[E, I, H]`, `down` is `[E, H, I]`, of the buffer's
         dtype. E is at most 32,767.
    (C2) The region's block takes two f32 and yields one.
    (C3) The region holds only scalar f32 and i1 ops of `arith` and `math` and f32 constants.
    (C4) `result` has the type of `buffer`.
    (C5) The biases are there all three or not at all; `gate_bias` and `up_bias` are `[E, I]`, `down_bias` is `[E, H]`.
  }];
  let arguments = (ins Moe_Tokens:$buffer, Moe_WeightTensor:$gate, Moe_WeightTensor:$up, Moe_WeightTensor:$down,
                   Optional<Moe_WeightTensor>:$gate_bias, Optional<Moe_WeightTensor>:$up_bias,
                   Optional<Moe_WeightTensor>:$down_bias);
  let results = (outs Moe_Tokens:$result);
  let regions = (region SizedRegion<1>:$activation);
  let assemblyFormat = [{
    $buffer `,` $gate `,` $up `,` $down (`bias` $gate_bias^ `,` $up_bias `,` $down_bias)? attr-dict `:`
    functional-type(operands, results) `activation` $activation
  }];
  let hasVerifier = 1;
}

def Moe_SharedFfnOp : Moe_Op<"shared_ffn", [Pure, IsolatedFromAbove, SingleBlock]> {
  let summary = "The feed-forward network that every token passes";
  let description = [{
    As one expert of `moe.expert_ffn` over all tokens. With `router`, the result of token `t` is multiplied by
    `sigmoid(hidden[t] . router)`.

    (C1) `hidden` is `[T, H]`; `gate` and `up` are `[Is, H]`, `down` is `[H, Is]`, of the hidden states' dtype.
    (C2) `router`, if present, is `[1, H]`.
    (C3) The region obeys (C2) and (C3) of `moe.expert_ffn`.
    (C4) `result` has the type of `hidden`.
  }];
  let arguments = (ins Moe_Tokens:$hidden, Moe_WeightTensor:$gate, Moe_WeightTensor:$up, Moe_WeightTensor:$down,
                   Optional<Moe_WeightTensor>:$router);
  let results = (outs Moe_Tokens:$result);
  let regions = (region SizedRegion<1>:$activation);
  let assemblyFormat = [{
    $hidden `,` $gate `,` $up `,` $down (`router` $router^)? attr-dict `:` functional-type(operands, results)
    `activation` $activation
  }];
  let hasVerifier = 1;
}

def Moe_CombineOp : Moe_Op<"combine", [Pure, AttrSizedOperandSegments]> {
  let summary = "Sum each token's expert outputs, weighted";
  let description = [{
    `output[t] = init[t] + sum_k weights[t, k] * expert_output[ids[t, k], slot[t, k]]`, over pairs whose slot is not -1,
    in f32 or better, rounded once. Absent `weights` are 1: the experts' inputs had them (`weight_on_input` of `moe.dispatch`).

    (C1) `expert_output` is `[E, ?, H]`, dim 1 dynamic; `ids` and `slot` are i32 `[T, K]`; `weights`, if present, is f32
         `[T, K]`.
    (C2) `output` is `[T, H]` of the dtype of `expert_output`; `init`, if present, has the same type.
  }];
  let arguments = (ins Moe_Tokens:$expert_output, Moe_Ids:$ids, Moe_Ids:$slot, Optional<Moe_F32Tensor>:$weights,
                   Optional<Moe_Tokens>:$init);
  let results = (outs Moe_Tokens:$output);
  let assemblyFormat = [{
    $expert_output `,` $ids `,` $slot (`,` $weights^)? (`init` $init^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// From phase `grouped` on
//===----------------------------------------------------------------------===//

def Moe_RouteOp : Moe_Op<"route", [Pure, AttrSizedOperandSegments]> {
  let summary = "Router, scoring, top-k, renormalisation and scale in one";
  let description = [{
    What `moe.router`, `moe.score`, `moe.top_k`, `moe.score`, `moe.normalize` and `moe.scale` do in this order; an absent
    `before` or `after` is no scoring there, an absent `epsilon` no renormalisation.

    (C1) As `moe.router` (C1), (C2) for `hidden`, `weight` and `bias`.
    (C2) As `moe.top_k` (C1) to (C5) for `correction`, `k`, the groups, `ids` and `weights`.
    (C3) `scale` and `epsilon` are finite.
  }];
  let arguments = (ins Moe_Tokens:$hidden, Moe_WeightTensor:$weight, Optional<Moe_WeightTensor>:$bias,
                   Optional<Moe_WeightTensor>:$correction, I64Attr:$k, OptionalAttr<Moe_ScoringAttr>:$before,
                   OptionalAttr<Moe_ScoringAttr>:$after, DefaultValuedAttr<I64Attr, "1">:$groups,
                   DefaultValuedAttr<I64Attr, "1">:$groups_picked, DefaultValuedAttr<I64Attr, "1">:$group_top,
                   OptionalAttr<F64Attr>:$epsilon, DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let results = (outs Moe_Ids:$ids, Moe_F32Tensor:$weights);
  let assemblyFormat = [{
    $hidden `,` $weight (`bias` $bias^)? (`correction` $correction^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Moe_GroupedFfnOp : Moe_Op<"grouped_ffn", [Pure, IsolatedFromAbove, SingleBlock, AttrSizedOperandSegments]> {
  let summary = "Dispatch, expert FFN and combine in one: what kernels are made for";
  let description = [{
    `output[t] = init[t] + sum_k weights[t, k] * ffn[ids[t, k]](hidden[t])`, and the pairs per expert as `counts`. With
    `weight_on_input` the weight is inside: `ffn[ids[t, k]](weights[t, k] * hidden[t])`.

    Phase `sized` gives `slots`; `selected` gives `config`, `packed` (1: the expert's weights are kept packed) and `order`
    (in which experts run; on a CPU costliest first); `planned` gives the row strides, in elements, of the buffers
    between the kernels. None of them changes a result.

    (C1) `hidden` is `[T, H]`, `ids` i32 `[T, K]`, `weights` f32 `[T, K]`; `init`, if present, has the type of `hidden`.
         K is static, `1 <= K <= E`.
    (C2) `gate` and `up` are `[E, I, H]`, `down` is `[E, H, I]`, of the dtype of `hidden`. E is at most 32,767.
    (C3) The region obeys (C2) and (C3) of `moe.expert_ffn`.
    (C4) `slots`, `packed` and `order`, where present, have E entries; slots are positive, `packed` is 0 or 1, `order` is a
         permutation of the experts.
    (C5) `output` has the type of `hidden`; `counts` is i32 `[E]`.
    (C6) `hidden_stride`, if present, is at least H, `intermediate_stride` at least I; both are at most 2^29.
    (C7) The biases obey (C5) of `moe.expert_ffn`.
  }];
  let arguments = (ins Moe_Tokens:$hidden, Moe_Ids:$ids, Moe_F32Tensor:$weights, Moe_WeightTensor:$gate,
                   Moe_WeightTensor:$up, Moe_WeightTensor:$down, Optional<Moe_WeightTensor>:$gate_bias,
                   Optional<Moe_WeightTensor>:$up_bias, Optional<Moe_WeightTensor>:$down_bias, Optional<Moe_Tokens>:$init,
                   OptionalAttr<DenseI32ArrayAttr>:$slots, OptionalAttr<Moe_LayerConfigAttr>:$config,
                   OptionalAttr<DenseI8ArrayAttr>:$packed, OptionalAttr<DenseI16ArrayAttr>:$order,
                   OptionalAttr<I64Attr>:$hidden_stride, OptionalAttr<I64Attr>:$intermediate_stride,
                   UnitAttr:$weight_on_input);
  let results = (outs Moe_Tokens:$output, Moe_Ids:$counts);
  let regions = (region SizedRegion<1>:$activation);
  let assemblyFormat = [{
    $hidden `,` $ids `,` $weights `,` $gate `,` $up `,` $down (`bias` $gate_bias^ `,` $up_bias `,` $down_bias)?
    (`init` $init^)? attr-dict `:` functional-type(operands, results) `activation` $activation
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Phase `launches`
//===----------------------------------------------------------------------===//

def Moe_LaunchOp : Moe_Op<"launch", [SingleBlock, IsolatedFromAbove]> {
  let summary = "One launch: a kernel, or one of the runtime's own steps, over its operands";
  let description = [{
    The launches of a layer run in order. A GEMM launch (`router`, `gate_up`, `down`, `shared_gate_up`, `shared_down`)
    names the kernels by tile height; `k` is its inner dimension and `columns` its output columns. The activation region
    is there for `gate_up` and `shared_gate_up` and nowhere else. `spec` keeps what `moe.route` said for a `route` launch,
    and the table (slots, packed, order) and buffer strides for a `dispatch` launch. `biased` says that the inputs of a
    `gate_up` or `down` launch marked so below are there. `weight_on_input` says that the sums of `gate_up` are multiplied by
    each pair's weight before anything else, which is what weights on the rows would give without rounding them, and that
    `down` and `store` add the experts' outputs as they are. `joined` says that the shared expert, which looks like a routed
    one, is one more expert of `dispatch`, `gate_up` and `down`: it comes before the others, takes every token, and its outputs,
    scaled by the sigmoid of the shared router's logit where there is one, are the first to be added. Its counts are not among
    the counts.

    | kind | inputs | outputs |
    | --- | --- | --- |
    | `router` | hidden, weight, bias (optional) | logits |
    | `route` | logits, correction (optional) | ids, weights |
    | `dispatch` | hidden, ids, weights | rows, the token of each row, counts |
    | `gate_up` | rows, gate, up, gate bias and up bias (biased), shared gate and shared up (joined) | activated rows |
    | `down` | activated rows, the token of each row, down, bias (biased), init (optional) | sums in f32 |
    | `down` (joined) | activated rows, the token of each row, down, shared down, and hidden with the shared router (optional) | sums in f32 |
    | `shared_gate_up` | hidden, gate, up | activated rows |
    | `shared_down` | activated rows, down, and hidden with the shared router (optional) | result |
    | `store` | sums | output |

    (C1) A GEMM launch has `k` and `columns`, in 1..2^28, and `config`; the others have none of them.
    (C2) `gate_up` and `shared_gate_up` have an activation region that obeys (C2) and (C3) of `moe.expert_ffn`; the
         others have an empty region.
    (C3) Inputs and outputs are as many as the table says; `route` and `dispatch` have a `spec`, the others none.
    (C4) `biased` is for `gate_up` and `down` alone.
    (C5) `weight_on_input` is for `gate_up` alone.
    (C6) `joined` is for `dispatch`, `gate_up` and `down` alone, and for none that is `biased` or has `weight_on_input`.
  }];
  let arguments = (ins Moe_LaunchKindAttr:$kind, Variadic<AnyRankedTensor>:$inputs, OptionalAttr<I64Attr>:$k,
                   OptionalAttr<I64Attr>:$columns, OptionalAttr<Moe_LayerConfigAttr>:$config,
                   OptionalAttr<DictionaryAttr>:$spec, UnitAttr:$biased, UnitAttr:$weight_on_input,
                   UnitAttr:$joined);
  let results = (outs Variadic<AnyRankedTensor>:$outputs);
  let regions = (region MaxSizedRegion<1>:$activation);
  let assemblyFormat = [{
    $kind `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs) (`activation` $activation^)?
  }];
  let hasVerifier = 1;
}

#endif // MOE_OPS_TD
