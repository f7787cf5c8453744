// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-fuse-experts))" | FileCheck %s

// The activation moves along, and counts of the same ids become the second result.
// CHECK-LABEL: func.func @group
// CHECK-SAME: (%[[HIDDEN:.*]]: tensor<?x8xf32>, %[[IDS:.*]]: tensor<?x2xi32>, %[[WEIGHTS:.*]]: tensor<?x2xf32>, %[[GATE:.*]]: tensor<4x6x8xf32>, %[[DOWN:.*]]: tensor<4x8x6xf32>)
// CHECK-NEXT: %[[OUT:.*]], %[[COUNTS:.*]] = moe.grouped_ffn %[[HIDDEN]], %[[IDS]], %[[WEIGHTS]], %[[GATE]], %[[GATE]], %[[DOWN]] :
// CHECK-NEXT: ^bb0(%[[G:.*]]: f32, %[[U:.*]]: f32):
// CHECK-NEXT: %[[H:.*]] = arith.mulf %[[G]], %[[U]] : f32
// CHECK-NEXT: moe.yield %[[H]] : f32
// CHECK-NEXT: }
// CHECK-NEXT: return %[[OUT]], %[[COUNTS]]
func.func @group(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) {
  %counts = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<4xi32>
  %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return %out, %counts : tensor<?x8xf32>, tensor<4xi32>
}

// CHECK-LABEL: func.func @initAndSlots
// CHECK: moe.grouped_ffn %{{.*}} init %{{.*}} {slots = array<i32: 8, 8, 8, 8>}
// CHECK-NOT: moe.combine
func.func @initAndSlots(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %init: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %buffer, %slot = moe.dispatch %hidden, %ids {slots = array<i32: 8, 8, 8, 8>} : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot, %weights init %init
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}

// Biases move along with the weights that they belong to.
// CHECK-LABEL: func.func @biases
// CHECK-SAME: %[[INNER:[a-z0-9]*]]: tensor<4x6xf32>, %[[OTHER:[a-z0-9]*]]: tensor<4x6xf32>, %[[OUTER:[a-z0-9]*]]: tensor<4x8xf32>, %[[INIT:[a-z0-9]*]]: tensor<?x8xf32>
// CHECK: moe.grouped_ffn %{{.*}} bias %[[INNER]], %[[OTHER]], %[[OUTER]] init %[[INIT]] :
func.func @biases(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %inner: tensor<4x6xf32>, %other: tensor<4x6xf32>, %outer: tensor<4x8xf32>, %init: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down bias %inner, %other, %outer
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x8xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot, %weights init %init
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}

// Counts of 8 experts are not those of a group of 4.
// CHECK-LABEL: func.func @countsOfMoreExperts
// CHECK: %[[COUNTS:.*]] = moe.count_pairs %{{.*}} : (tensor<?x2xi32>) -> tensor<8xi32>
// CHECK: moe.grouped_ffn
// CHECK: return %{{.*}}, %[[COUNTS]]
func.func @countsOfMoreExperts(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<8xi32>) {
  %counts = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<8xi32>
  %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return %out, %counts : tensor<?x8xf32>, tensor<8xi32>
}

// Counts of other ids stay as they are.
// CHECK-LABEL: func.func @countsOfOtherIds
// CHECK: %[[COUNTS:.*]] = moe.count_pairs
// CHECK: moe.grouped_ffn
// CHECK: return %{{.*}}, %[[COUNTS]]
func.func @countsOfOtherIds(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %others: tensor<?x2xi32>) -> (tensor<?x8xf32>, tensor<4xi32>) {
  %counts = moe.count_pairs %others : (tensor<?x2xi32>) -> tensor<4xi32>
  %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return %out, %counts : tensor<?x8xf32>, tensor<4xi32>
}

// A capacity drops pairs, which moe.grouped_ffn cannot say.
// CHECK-LABEL: func.func @capacity
// CHECK: moe.dispatch
// CHECK: moe.expert_ffn
// CHECK: moe.combine
func.func @capacity(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) -> tensor<?x8xf32> {
  %buffer, %slot = moe.dispatch %hidden, %ids {capacity = 3 : i64} : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
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

// Experts that are combined by other ids than they were dispatched by.
// CHECK-LABEL: func.func @otherIds
// CHECK: moe.dispatch
// CHECK: moe.combine
func.func @otherIds(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %others: tensor<?x2xi32>) -> tensor<?x8xf32> {
  %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %others, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}

// Expert outputs, buffers or slots that somebody else reads cannot go.
// CHECK-LABEL: func.func @outputsAreRead
// CHECK: moe.combine
// CHECK-LABEL: func.func @buffersAreRead
// CHECK: moe.combine
// CHECK-LABEL: func.func @slotsAreRead
// CHECK: moe.combine
func.func @outputsAreRead(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4x?x8xf32>) {
  %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return %out, %expert : tensor<?x8xf32>, tensor<4x?x8xf32>
}
func.func @buffersAreRead(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4x?x8xf32>) {
  %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return %out, %buffer : tensor<?x8xf32>, tensor<4x?x8xf32>
}
func.func @slotsAreRead(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<?x2xi32>) {
  %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return %out, %slot : tensor<?x8xf32>, tensor<?x2xi32>
}

// Weights on the experts' input come from the dispatch.
// CHECK-LABEL: func.func @weightOnInput
// CHECK-SAME: (%[[HIDDEN:.*]]: tensor<?x8xf32>, %[[IDS:.*]]: tensor<?x2xi32>, %[[WEIGHTS:.*]]: tensor<?x2xf32>, %[[GATE:.*]]: tensor<4x6x8xf32>, %[[DOWN:.*]]: tensor<4x8x6xf32>)
// CHECK-NEXT: moe.grouped_ffn %[[HIDDEN]], %[[IDS]], %[[WEIGHTS]], %[[GATE]], %[[GATE]], %[[DOWN]] {weight_on_input} :
func.func @weightOnInput(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) -> tensor<?x8xf32> {
  %buffer, %slot = moe.dispatch %hidden, %ids weights %weights {weight_on_input}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>) -> tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}

// Weights on both sides, or on neither, are not what moe.grouped_ffn says.
// CHECK-LABEL: func.func @weightsTwice
// CHECK: moe.combine
// CHECK-LABEL: func.func @noWeights
// CHECK: moe.combine
func.func @weightsTwice(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) -> tensor<?x8xf32> {
  %buffer, %slot = moe.dispatch %hidden, %ids weights %weights {weight_on_input}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
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
func.func @noWeights(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) -> tensor<?x8xf32> {
  %buffer, %slot = moe.dispatch %hidden, %ids
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  %expert = moe.expert_ffn %buffer, %gate, %gate, %down
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %out = moe.combine %expert, %ids, %slot
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>) -> tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}
