// RUN: moec-opt %s --moe-lower=to=sized | FileCheck %s --check-prefix=SIZED
// RUN: moec-opt %s --moe-lower=to=selected | FileCheck %s --check-prefix=SELECTED
// RUN: moec-opt %s --moe-lower=to=planned | FileCheck %s --check-prefix=PLANNED
// RUN: moec-opt %s --moe-lower=to=launches | FileCheck %s --check-prefix=LAUNCHES
// RUN: moec-opt %s --moe-lower=to=planned | moec-opt --moe-lower-to-launches | FileCheck %s --check-prefix=RESUMED

// A layer for a GPU goes through the same phases, with the same verifier after each.

// Whatever an expert gets, it has room for: nothing spills.
// SIZED: moe.grouped_ffn
// SIZED-SAME: slots = array<i32: 256, 256, 256, 256, 256, 256, 256, 256>
// SIZED-NOT: config

// Nothing is packed.
// SELECTED: moe.grouped_ffn
// SELECTED-SAME: config = #moe.cuda_config<element = "bf16", gate_up = "{{(hopper|swapped|portable|fitted)-[^"]*}}", down =
// SELECTED-SAME: packed = array<i8: 0, 0, 0, 0, 0, 0, 0, 0>

// PLANNED: moe.grouped_ffn
// PLANNED-SAME: config = #moe.cuda_config
// PLANNED-SAME: hidden_stride =

// All products of a layer name the one config.
// LAUNCHES: moe.launch router({{.*}}config = #moe.cuda_config<[[CONFIG:[^>]*]]>
// LAUNCHES: moe.launch route(
// LAUNCHES: moe.launch dispatch(
// LAUNCHES: moe.launch shared_gate_up({{.*}}config = #moe.cuda_config<[[CONFIG]]>
// LAUNCHES: math.exp
// LAUNCHES: moe.launch shared_down({{.*}}config = #moe.cuda_config<[[CONFIG]]>
// LAUNCHES: moe.launch gate_up({{.*}}config = #moe.cuda_config<[[CONFIG]]>
// LAUNCHES: moe.launch down({{.*}}config = #moe.cuda_config<[[CONFIG]]>
// LAUNCHES: moe.launch store(

// RESUMED: moe.launch gate_up({{.*}}config = #moe.cuda_config
module attributes {moe.model = "tiny", moe.target = {name = "h100", arch = "sm_90a", gpu = "H100", multiprocessors = 132 : i64, shared = 232448 : i64,
                                 l2 = 52428800 : i64, bytes_per_ns = 3350.0 : f64, flops_per_ns = 989000.0 : f64}} {
  func.func @layer_3(%hidden: tensor<?x64xbf16>) -> tensor<?x64xbf16> attributes {moe.layer = 3 : i64} {
    %router = moe.weight "model.layers.3.mlp.gate.weight" : tensor<8x64xbf16>
    %bias = moe.weight "model.layers.3.mlp.gate.e_score_correction_bias" : tensor<8xf32>
    %gate = moe.weight "model.layers.3.mlp.experts.{e}.gate_proj.weight" : tensor<8x32x64xbf16>
    %up = moe.weight "model.layers.3.mlp.experts.{e}.up_proj.weight" : tensor<8x32x64xbf16>
    %down = moe.weight "model.layers.3.mlp.experts.{e}.down_proj.weight" : tensor<8x64x32xbf16>
    %sgate = moe.weight "model.layers.3.mlp.shared_experts.gate_proj.weight" : tensor<48x64xbf16>
    %sup = moe.weight "model.layers.3.mlp.shared_experts.up_proj.weight" : tensor<48x64xbf16>
    %sdown = moe.weight "model.layers.3.mlp.shared_experts.down_proj.weight" : tensor<64x48xbf16>
    %logits = moe.router %hidden, %router : (tensor<?x64xbf16>, tensor<8x64xbf16>) -> tensor<?x8xf32>
    %scores = moe.score sigmoid %logits : tensor<?x8xf32>
    %ids, %chosen = moe.top_k %scores correction %bias {k = 2 : i64, groups = 4 : i64, groups_picked = 2 : i64, group_top = 2 : i64}
        : (tensor<?x8xf32>, tensor<8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %norm = moe.normalize %chosen {epsilon = 0.0625 : f64} : tensor<?x2xf32>
    %weights = moe.scale %norm by 2.5 : tensor<?x2xf32>
    %counts = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<8xi32>
    %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x64xbf16>, tensor<?x2xi32>) -> (tensor<8x?x64xbf16>, tensor<?x2xi32>)
    %expert = moe.expert_ffn %buffer, %gate, %up, %down
        : (tensor<8x?x64xbf16>, tensor<8x32x64xbf16>, tensor<8x32x64xbf16>, tensor<8x64x32xbf16>) -> tensor<8x?x64xbf16> activation {
    ^bb0(%g: f32, %u: f32):
      %negated = arith.negf %g : f32
      %exp = math.exp %negated : f32
      %one = arith.constant 1.0 : f32
      %denominator = arith.addf %exp, %one : f32
      %silu = arith.divf %g, %denominator : f32
      %h = arith.mulf %silu, %u : f32
      moe.yield %h : f32
    }
    %shared = moe.shared_ffn %hidden, %sgate, %sup, %sdown
        : (tensor<?x64xbf16>, tensor<48x64xbf16>, tensor<48x64xbf16>, tensor<64x48xbf16>) -> tensor<?x64xbf16> activation {
    ^bb0(%g: f32, %u: f32):
      %negated = arith.negf %g : f32
      %exp = math.exp %negated : f32
      %one = arith.constant 1.0 : f32
      %denominator = arith.addf %exp, %one : f32
      %silu = arith.divf %g, %denominator : f32
      %h = arith.mulf %silu, %u : f32
      moe.yield %h : f32
    }
    %out = moe.combine %expert, %ids, %slot, %weights init %shared
        : (tensor<8x?x64xbf16>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
    return %out : tensor<?x64xbf16>
  }
}
