// RUN: moec-opt %s --moe-verify-phase=phase=sized -verify-diagnostics -split-input-file

// No slots.
func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  // expected-error @+1 {{has no slots after phase sized}}
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// -----

// What phase grouped forbids stays forbidden.
func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64} : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  // expected-error @+1 {{'moe.dispatch' is not allowed after phase sized}}
  %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}
