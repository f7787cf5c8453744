// RUN: moec-opt %s -split-input-file --pass-pipeline="builtin.module(func.func(moe-select-configs))" | FileCheck %s

// Experts come costliest first; 100, 50 and 30 pairs fill ever fewer tiles, and the idle one costs nothing. All are packed: no budget
// forbids it. f32 layers compute in f32. The slots stay as they are.
// CHECK-LABEL: func.func @profile
// CHECK: config = #moe.cpu_config<isa = "avx512bf16", compute = "f32", rows = [
// CHECK-SAME: order = array<i16: 0, 1, 3, 2>
// CHECK-SAME: packed = array<i8: 1, 1, 1, 1>
// CHECK-SAME: slots = array<i32: 128, 64, 8, 40>
func.func @profile(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64, moe.tokens = 180 : i64, moe.pairs = array<i32: 100, 50, 0, 30>} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      {slots = array<i32: 128, 64, 8, 40>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// -----

// A budget of 0 bytes packs nothing, and one height is what the limit allows; bf16 layers compute in bf16.
// CHECK-LABEL: func.func @limited
// CHECK: config = #moe.cpu_config<isa = "avx2", compute = "bf16", rows = [{{[0-9]+}}]>
// CHECK-SAME: packed = array<i8: 0, 0, 0, 0>
module attributes {moe.target = {name = "cpu-avx2", isa = "avx2", threads = 2 : i64, l2 = 1048576 : i64},
  moe.limits = {heights = 1 : i64, pack_budget = 0 : i64, headroom = 1.25 : f64, align = 8 : i64}} {
  func.func @limited(%hidden: tensor<?x8xbf16>) -> tensor<?x8xbf16> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xbf16>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xbf16>
    %down = moe.weight "{e}.down" : tensor<4x8x6xbf16>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 160, 160, 160, 160>}
        : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xbf16>, tensor<4x6x8xbf16>, tensor<4x8x6xbf16>)
        -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x8xbf16>
  }
}

// -----

// A plan that was decided elsewhere is written as it is.
// CHECK-LABEL: func.func @decided
// CHECK: config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [3]>
// CHECK-SAME: order = array<i16: 2, 3, 1, 0>
// CHECK-SAME: packed = array<i8: 0, 0, 0, 0>
func.func @decided(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64, moe.plan = {config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [3]>, slots = array<i32: 8, 8, 8, 8>, packed = array<i8: 0, 0, 0, 0>, order = array<i16: 2, 3, 1, 0>, ns = 1.0 : f64}} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      {slots = array<i32: 8, 8, 8, 8>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}
