// RUN: moec-opt %s --moe-lower=to=launches | FileCheck %s

// A whole layer, phase by phase, down to its launches: router, route and dispatch come first, the shared expert before the
// routed ones, the sums are stored last. What is said of weights stays.
// CHECK-LABEL: func.func @layer_3
// CHECK: moe.weight "model.layers.3.mlp.experts.{e}.gate_proj.weight" {block_e4m3} :
// CHECK: moe.weight "model.layers.3.mlp.experts.{e}.up_proj.weight" {block_e4m3} :
// CHECK: moe.weight "model.layers.3.mlp.experts.{e}.down_proj.weight" {block_e4m3} :
// CHECK: moe.launch router(
// CHECK-SAME: columns = 8
// CHECK-SAME: k = 64
// CHECK: moe.launch route(
// CHECK-SAME: epsilon = 6.250000e-02
// CHECK-SAME: scale = 2.5
// CHECK: moe.launch dispatch(
// CHECK-SAME: slots = array<i32:
// CHECK: moe.launch shared_gate_up(
// CHECK: math.exp
// CHECK: moe.launch shared_down(
// CHECK: moe.launch gate_up(
// CHECK: moe.launch down(
// CHECK: moe.launch store(
// CHECK-NEXT: return
module attributes {moe.model = "tiny"} {
  func.func @layer_3(%hidden: tensor<?x64xbf16>) -> tensor<?x64xbf16> attributes {moe.layer = 3 : i64} {
    %router = moe.weight "model.layers.3.mlp.gate.weight" : tensor<8x64xbf16>
    %bias = moe.weight "model.layers.3.mlp.gate.e_score_correction_bias" : tensor<8xf32>
    %gate = moe.weight "model.layers.3.mlp.experts.{e}.gate_proj.weight" {block_e4m3} : tensor<8x32x64xbf16>
    %up = moe.weight "model.layers.3.mlp.experts.{e}.up_proj.weight" {block_e4m3} : tensor<8x32x64xbf16>
    %down = moe.weight "model.layers.3.mlp.experts.{e}.down_proj.weight" {block_e4m3} : tensor<8x64x32xbf16>
    %sgate = moe.weight "model.layers.3.mlp.shared_experts.gate_proj.weight" : tensor<32x64xbf16>
    %sup = moe.weight "model.layers.3.mlp.shared_experts.up_proj.weight" : tensor<32x64xbf16>
    %sdown = moe.weight "model.layers.3.mlp.shared_experts.down_proj.weight" : tensor<64x32xbf16>
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
        : (tensor<?x64xbf16>, tensor<32x64xbf16>, tensor<32x64xbf16>, tensor<64x32xbf16>) -> tensor<?x64xbf16> activation {
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
