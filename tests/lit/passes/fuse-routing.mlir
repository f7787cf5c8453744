// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-fuse-routing))" | FileCheck %s

// As Qwen3: softmax over all experts, then renormalisation.
// CHECK-LABEL: func.func @softmaxThenNormalize
// CHECK-NEXT: %[[IDS:.*]], %[[WEIGHTS:.*]] = moe.route %{{.*}}, %{{.*}} {before = #moe<scoring softmax>, epsilon = 0.000000e+00 : f64, k = 2 : i64}
// CHECK-SAME: -> (tensor<?x2xi32>, tensor<?x2xf32>)
// CHECK-NEXT: return %[[IDS]], %[[WEIGHTS]]
func.func @softmaxThenNormalize(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>) {
  %logits = moe.router %hidden, %weight : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %scores = moe.score softmax %logits : tensor<?x4xf32>
  %ids, %chosen = moe.top_k %scores {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %weights = moe.normalize %chosen : tensor<?x2xf32>
  return %ids, %weights : tensor<?x2xi32>, tensor<?x2xf32>
}

// As Mixtral: softmax over the chosen only; no renormalisation is not an epsilon of 0.
// CHECK-LABEL: func.func @softmaxOfChosen
// CHECK-NEXT: moe.route %{{.*}} {after = #moe<scoring softmax>, k = 2 : i64} :
// CHECK-NEXT: return
func.func @softmaxOfChosen(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>) {
  %logits = moe.router %hidden, %weight : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %ids, %chosen = moe.top_k %logits {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %weights = moe.score softmax %chosen : tensor<?x2xf32>
  return %ids, %weights : tensor<?x2xi32>, tensor<?x2xf32>
}

// As DeepSeek-V3, all parts at once.
// CHECK-LABEL: func.func @everything
// CHECK-NEXT: moe.route %{{.*}}, %{{.*}} bias %{{.*}} correction %{{.*}} {after = #moe<scoring sigmoid>, before = #moe<scoring sigmoid>, epsilon = 5.000000e-01 : f64, group_top = 2 : i64, groups = 2 : i64, k = 1 : i64, scale = 2.500000e+00 : f64}
// CHECK-NEXT: return
func.func @everything(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>, %bias: tensor<4xf32>, %correction: tensor<4xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>) {
  %logits = moe.router %hidden, %weight bias %bias : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %scores = moe.score sigmoid %logits : tensor<?x4xf32>
  %ids, %chosen = moe.top_k %scores correction %correction {k = 1 : i64, groups = 2 : i64, group_top = 2 : i64}
      : (tensor<?x4xf32>, tensor<4xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %again = moe.score sigmoid %chosen : tensor<?x1xf32>
  %normal = moe.normalize %again {epsilon = 0.5 : f64} : tensor<?x1xf32>
  %weights = moe.scale %normal by 2.5 : tensor<?x1xf32>
  return %ids, %weights : tensor<?x1xi32>, tensor<?x1xf32>
}

// Weights with two users end the chain there; what follows stays.
// CHECK-LABEL: func.func @weightsWithTwoUsers
// CHECK-NEXT: %[[IDS:.*]], %[[WEIGHTS:.*]] = moe.route %{{.*}} {k = 2 : i64} :
// CHECK-NEXT: %[[SCALED:.*]] = moe.scale %[[WEIGHTS]] by 2
// CHECK-NEXT: return %[[WEIGHTS]], %[[SCALED]]
func.func @weightsWithTwoUsers(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>) {
  %logits = moe.router %hidden, %weight : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %ids, %chosen = moe.top_k %logits {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %scaled = moe.scale %chosen by 2.0 : tensor<?x2xf32>
  return %chosen, %scaled : tensor<?x2xf32>, tensor<?x2xf32>
}

// Logits or scores that somebody else reads cannot go.
// CHECK-LABEL: func.func @logitsWithTwoUsers
// CHECK: moe.router
// CHECK: moe.top_k
// CHECK-LABEL: func.func @scoresWithTwoUsers
// CHECK: moe.router
// CHECK: moe.score
// CHECK: moe.top_k
func.func @logitsWithTwoUsers(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>) {
  %logits = moe.router %hidden, %weight : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %ids, %chosen = moe.top_k %logits {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return %logits, %chosen : tensor<?x4xf32>, tensor<?x2xf32>
}
func.func @scoresWithTwoUsers(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>) {
  %logits = moe.router %hidden, %weight : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %scores = moe.score softmax %logits : tensor<?x4xf32>
  %ids, %chosen = moe.top_k %scores {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return %scores, %chosen : tensor<?x4xf32>, tensor<?x2xf32>
}

// Logits of the caller: there is no router to fuse.
// CHECK-LABEL: func.func @noRouter
// CHECK-NEXT: moe.top_k
// CHECK-NEXT: return
func.func @noRouter(%logits: tensor<?x4xf32>) -> tensor<?x2xf32> {
  %ids, %chosen = moe.top_k %logits {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return %chosen : tensor<?x2xf32>
}
