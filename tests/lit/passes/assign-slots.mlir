// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-assign-slots))" | FileCheck %s
// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-assign-slots{tokens=4}))" | FileCheck %s --check-prefix=FEW

// No profile: 256 tokens * 2 over 4 experts are 128 pairs each, * 1.25 = 160. With 4 tokens, 2 pairs each, and no fewer than 8 slots.
// CHECK-LABEL: func.func @uniform
// CHECK: slots = array<i32: 160, 160, 160, 160>
// FEW-LABEL: func.func @uniform
// FEW: slots = array<i32: 8, 8, 8, 8>
func.func @uniform(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// 100 * 1.25 = 125 -> 128; 50 * 1.25 = 62.5 -> 64; an idle expert still has 8; 30 * 1.25 = 37.5 -> 40.
// CHECK-LABEL: func.func @profile
// CHECK: slots = array<i32: 128, 64, 8, 40>
func.func @profile(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 1 : i64, moe.tokens = 180 : i64, moe.pairs = array<i32: 100, 50, 0, 30>} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// 64 tokens * 2 / 4 = 32 pairs each, * 1.25 = 40; the layer's own number wins over the option.
// CHECK-LABEL: func.func @tokensOnly
// CHECK: slots = array<i32: 40, 40, 40, 40>
// FEW-LABEL: func.func @tokensOnly
// FEW: slots = array<i32: 40, 40, 40, 40>
func.func @tokensOnly(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 2 : i64, moe.tokens = 64 : i64} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// An expert cannot have more pairs than the step has tokens: 20 * 1.25 = 25 -> 32, but 20 tokens fill 24 at most.
// CHECK-LABEL: func.func @everybodyToOne
// CHECK: slots = array<i32: 24, 8, 8, 8>
func.func @everybodyToOne(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 3 : i64, moe.tokens = 20 : i64, moe.pairs = array<i32: 20, 6, 6, 6>} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// A profile of an empty step.
// CHECK-LABEL: func.func @noTokens
// CHECK: slots = array<i32: 8, 8, 8, 8>
func.func @noTokens(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 4 : i64, moe.tokens = 0 : i64, moe.pairs = array<i32: 0, 0, 0, 0>} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}
