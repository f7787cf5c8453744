// RUN: moec-opt %s --canonicalize | FileCheck %s

// A softmax sums to 1 over the entries that it was taken over.
// CHECK-LABEL: func.func @normalizeBehindSoftmax
// CHECK: %[[SCORES:.*]] = moe.score softmax
// CHECK-NEXT: return %[[SCORES]]
func.func @normalizeBehindSoftmax(%logits: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %scores = moe.score softmax %logits : tensor<?x2xf32>
  %normal = moe.normalize %scores : tensor<?x2xf32>
  return %normal : tensor<?x2xf32>
}

// CHECK-LABEL: func.func @normalizeWithEpsilonStays
// CHECK: moe.normalize
func.func @normalizeWithEpsilonStays(%logits: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %scores = moe.score softmax %logits : tensor<?x2xf32>
  %normal = moe.normalize %scores {epsilon = 0.5 : f64} : tensor<?x2xf32>
  return %normal : tensor<?x2xf32>
}

// CHECK-LABEL: func.func @normalizeBehindSigmoidStays
// CHECK: moe.normalize
func.func @normalizeBehindSigmoidStays(%logits: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %scores = moe.score sigmoid %logits : tensor<?x2xf32>
  %normal = moe.normalize %scores : tensor<?x2xf32>
  return %normal : tensor<?x2xf32>
}

// The softmax was over 8 experts, the weights are 2 of them: their sum is not 1.
// CHECK-LABEL: func.func @normalizeOfChosenStays
// CHECK: moe.normalize
func.func @normalizeOfChosenStays(%logits: tensor<?x8xf32>) -> tensor<?x2xf32> {
  %scores = moe.score softmax %logits : tensor<?x8xf32>
  %ids, %chosen = moe.top_k %scores {k = 2 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %normal = moe.normalize %chosen : tensor<?x2xf32>
  return %normal : tensor<?x2xf32>
}

// CHECK-LABEL: func.func @scaleByOne
// CHECK-SAME: (%[[WEIGHTS:.*]]: tensor
// CHECK-NEXT: return %[[WEIGHTS]]
func.func @scaleByOne(%weights: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %scaled = moe.scale %weights by 1.0 : tensor<?x2xf32>
  return %scaled : tensor<?x2xf32>
}

// 2.5 * -0.5 * 4 = -5.
// CHECK-LABEL: func.func @scalesBecomeOne
// CHECK-SAME: (%[[WEIGHTS:.*]]: tensor
// CHECK-NEXT: %[[SCALED:.*]] = moe.scale %[[WEIGHTS]] by -5.0{{0*}}e+00
// CHECK-NEXT: return %[[SCALED]]
func.func @scalesBecomeOne(%weights: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %first = moe.scale %weights by 2.5 : tensor<?x2xf32>
  %second = moe.scale %first by -0.5 : tensor<?x2xf32>
  %third = moe.scale %second by 4.0 : tensor<?x2xf32>
  return %third : tensor<?x2xf32>
}

// 1e200 * 1e200 is no finite factor, which (C2) of moe.scale forbids.
// CHECK-LABEL: func.func @scalesThatOverflowStay
// CHECK-COUNT-2: moe.scale
func.func @scalesThatOverflowStay(%weights: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %first = moe.scale %weights by 1.0e200 : tensor<?x2xf32>
  %second = moe.scale %first by 1.0e200 : tensor<?x2xf32>
  return %second : tensor<?x2xf32>
}

// The first scale has another user, so it stays, and the second one reads past it.
// CHECK-LABEL: func.func @scaleWithTwoUsers
// CHECK-SAME: (%[[WEIGHTS:.*]]: tensor
// CHECK-DAG: %[[TWICE:.*]] = moe.scale %[[WEIGHTS]] by 2.0{{0*}}e+00
// CHECK-DAG: %[[SIXFOLD:.*]] = moe.scale %[[WEIGHTS]] by 6.0{{0*}}e+00
// CHECK: return %[[TWICE]], %[[SIXFOLD]]
func.func @scaleWithTwoUsers(%weights: tensor<?x2xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>) {
  %first = moe.scale %weights by 2.0 : tensor<?x2xf32>
  %second = moe.scale %first by 3.0 : tensor<?x2xf32>
  return %first, %second : tensor<?x2xf32>, tensor<?x2xf32>
}

// All ops but the launches are free of effects: what nobody reads goes.
// CHECK-LABEL: func.func @unused
// CHECK-NEXT: return
func.func @unused(%hidden: tensor<?x8xf32>) {
  %weight = moe.weight "a" : tensor<4x8xf32>
  %logits = moe.router %hidden, %weight : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %ids, %chosen = moe.top_k %logits {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %counts = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<4xi32>
  return
}
