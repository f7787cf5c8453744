// RUN: moec-opt %s --moe-lower=to=planned | moec-opt --moe-verify-phase=phase=planned | FileCheck %s --check-prefix=PLANNED
// RUN: moec-opt %s --moe-lower=to=planned | moec-opt --moe-verify-phase=phase=input | FileCheck %s --check-prefix=INPUT
// RUN: moec-opt %s --moe-lower=to=planned | moec-opt --moe-verify-phase=phase=grouped | FileCheck %s --check-prefix=GROUPED
// RUN: moec-opt %s --moe-lower=to=planned | moec-opt --moe-verify-phase=phase=sized | FileCheck %s --check-prefix=SIZED
// RUN: moec-opt %s --moe-lower=to=planned | moec-opt --moe-verify-phase=phase=selected | FileCheck %s --check-prefix=SELECTED
// RUN: moec-opt %s --moe-lower=to=launches | moec-opt --moe-verify-phase=phase=launches | FileCheck %s --check-prefix=LAUNCHES

// The verifier marks the module with the phase; a later phase's choices are no error in an earlier one.
// INPUT: module attributes {{.*}}moe.phase = "input"
// GROUPED: module attributes {{.*}}moe.phase = "grouped"
// SIZED: module attributes {{.*}}moe.phase = "sized"
// SELECTED: module attributes {{.*}}moe.phase = "selected"
// PLANNED: module attributes {{.*}}moe.phase = "planned"
// LAUNCHES: module attributes {{.*}}moe.phase = "launches"
func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
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
