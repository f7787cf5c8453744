// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%expert: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x2xi32>, %weights: tensor<?x2xf32>) {
  // expected-error @+1 {{'moe.combine' op (C1) expert_output is [E, ?, H], ids, slot and weights are [T, K]}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%expert: tensor<?x?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x2xi32>, %weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C1) expert_output is [E, ?, H]}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<?x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%expert: tensor<4x16x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x2xi32>, %weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C1) expert_output is [E, ?, H]}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x16x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%expert: tensor<4x?x8xf32>, %ids: tensor<i32>, %slot: tensor<i32>, %weights: tensor<f32>) {
  // expected-error @+1 {{(C1) expert_output is [E, ?, H]}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<i32>, tensor<i32>, tensor<f32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%expert: tensor<4x?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x3xi32>, %weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C1) expert_output is [E, ?, H]}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x3xi32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%expert: tensor<4x?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x2xi32>, %weights: tensor<?x3xf32>) {
  // expected-error @+1 {{(C1) expert_output is [E, ?, H]}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x3xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @case(%expert: tensor<4x?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x3xi32>) {
  // expected-error @+1 {{'tensor<?x2xi32>', 'tensor<?x3xi32>' and no weights}}
  %0 = moe.combine %expert, %ids, %slot
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x3xi32>) -> tensor<?x8xf32>
  return
}

// -----

// (C2)
func.func @case(%expert: tensor<4x?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x2xi32>, %weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C2) output and init are [T, H] of the experts' dtype, but output is 'tensor<?x9xf32>'}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @case(%expert: tensor<4x?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x2xi32>, %weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C2) output and init are [T, H]}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<3x8xf32>
  return
}

// -----

func.func @case(%expert: tensor<4x?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x2xi32>, %weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C2) output and init are [T, H]}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<f32>
  return
}

// -----

func.func @case(%expert: tensor<4x?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x2xi32>, %weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C2) output and init are [T, H]}}
  %0 = moe.combine %expert, %ids, %slot, %weights
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xbf16>
  return
}

// -----

func.func @case(%expert: tensor<4x?x8xf32>, %ids: tensor<?x2xi32>, %slot: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %init: tensor<?x8xbf16>) {
  // expected-error @+1 {{(C2) output and init are [T, H]}}
  %0 = moe.combine %expert, %ids, %slot, %weights init %init
      : (tensor<4x?x8xf32>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<?x8xbf16>) -> tensor<?x8xf32>
  return
}
