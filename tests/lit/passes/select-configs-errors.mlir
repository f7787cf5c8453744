// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-select-configs))" -verify-diagnostics -split-input-file

// A plan whose order is none.
func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64, moe.plan = {config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, slots = array<i32: 8, 8, 8, 8>, packed = array<i8: 1, 1, 1, 1>, order = array<i16: 0, 1, 2, 2>, ns = 1.0 : f64}} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  // expected-error @+1 {{(C4) order is a permutation of 4 experts}}
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

// What the planner is asked is checked as in moe-assign-slots.
// expected-error @+1 {{a profile has moe.tokens and a moe.pairs entry for each of 4 experts}}
func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64, moe.tokens = 10 : i64, moe.pairs = array<i32: 10, 10>} {
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
