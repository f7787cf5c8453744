// RUN: moec-opt %s --moe-lower=to=grouped -verify-diagnostics -split-input-file

// A chain in another order is left alone, and the phase's verifier names the first op that has no place any more.
func.func @scaleBeforeNormalize(%hidden: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x2xf32>) attributes {moe.layer = 0 : i64} {
  %weight = moe.weight "router" : tensor<4x8xf32>
  %logits = moe.router %hidden, %weight : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %ids, %chosen = moe.top_k %logits {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %scaled = moe.scale %chosen by 2.0 : tensor<?x2xf32>
  // expected-error @+1 {{'moe.normalize' is not allowed after phase grouped}}
  %normal = moe.normalize %scaled : tensor<?x2xf32>
  return %hidden, %normal : tensor<?x8xf32>, tensor<?x2xf32>
}

// -----

func.func @logitsAreRead(%hidden: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x2xf32>) attributes {moe.layer = 0 : i64} {
  %weight = moe.weight "router" : tensor<4x8xf32>
  // expected-error @+1 {{'moe.router' is not allowed after phase grouped}}
  %logits = moe.router %hidden, %weight : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %ids, %chosen = moe.top_k %logits {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return %hidden, %logits, %chosen : tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x2xf32>
}
