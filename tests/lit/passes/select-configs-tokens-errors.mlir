// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-select-configs{tokens=2147483648}))" -verify-diagnostics

// More tokens than a step can have, for a layer that says nothing of its own.
module {
  // expected-error @+1 {{cannot plan for 2147483648 tokens, expected 0..2147483647}}
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
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
}
