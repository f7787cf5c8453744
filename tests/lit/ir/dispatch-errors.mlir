// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%tokens: tensor<?xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{'moe.dispatch' op (C1) tokens are [T, H] and ids [T, K]}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<i32>) {
  // expected-error @+1 {{(C1) tokens are [T, H] and ids [T, K]}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<i32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<3x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C1) tokens are [T, H] and ids [T, K]}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<3x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x?xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C1) tokens are [T, H] and ids [T, K]}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x?xf32>, tensor<?x2xi32>) -> (tensor<4x?x?xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x3xf32>) {
  // expected-error @+1 {{(C1) weights are [T, K] like ids, but they are 'tensor<?x3xf32>'}}
  %buffer, %slot = moe.dispatch %tokens, %ids weights %weights
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x3xf32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

// (C2)
func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C2) the buffer is [E, ?, H] of the tokens' dtype and slot like ids}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<?x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C2) the buffer is [E, ?, H]}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x16x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C2) the buffer is [E, ?, H]}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x9xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C2) the buffer is [E, ?, H]}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<f32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C2) the buffer is [E, ?, H]}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xbf16>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C2) the buffer is [E, ?, H]}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x3xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C2) K is static and in 1..E with E = 1, but ids are 'tensor<?x2xi32>'}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<1x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x?xi32>) {
  // expected-error @+1 {{(C2) K is static and in 1..E with E = 4}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<?x?xi32>) -> (tensor<4x?x8xf32>, tensor<?x?xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x0xi32>) {
  // expected-error @+1 {{(C2) K is static and in 1..E with E = 4}}
  %buffer, %slot = moe.dispatch %tokens, %ids
      : (tensor<?x8xf32>, tensor<?x0xi32>) -> (tensor<4x?x8xf32>, tensor<?x0xi32>)
  return
}

// -----

// (C3)
func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C3) capacity is at least 1, but it is 0}}
  %buffer, %slot = moe.dispatch %tokens, %ids {capacity = 0 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C3) capacity is at least 1, but it is -4}}
  %buffer, %slot = moe.dispatch %tokens, %ids {capacity = -4 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C3) a drop policy needs a capacity}}
  %buffer, %slot = moe.dispatch %tokens, %ids {drop = #moe<drop_policy position>}
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C3) drop = score needs the weights}}
  %buffer, %slot = moe.dispatch %tokens, %ids {capacity = 4 : i64, drop = #moe<drop_policy score>}
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

// (C4)
func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C4) slots have one positive entry for each of 4 experts}}
  %buffer, %slot = moe.dispatch %tokens, %ids {slots = array<i32: 8, 8, 8>}
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C4) slots have one positive entry for each of 4 experts}}
  %buffer, %slot = moe.dispatch %tokens, %ids {slots = array<i32: 8, 8, 8, 0>}
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C4) slots have one positive entry for each of 4 experts}}
  %buffer, %slot = moe.dispatch %tokens, %ids {slots = array<i32: 8, -8, 8, 8>}
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{attribute 'slots' failed to satisfy constraint: i32 dense array attribute}}
  %buffer, %slot = moe.dispatch %tokens, %ids {slots = array<i64: 8, 8, 8, 8>}
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}

// -----

// (C5)
func.func @case(%tokens: tensor<?x8xf32>, %ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C5) weight_on_input needs the weights}}
  %buffer, %slot = moe.dispatch %tokens, %ids {weight_on_input}
      : (tensor<?x8xf32>, tensor<?x2xi32>) -> (tensor<4x?x8xf32>, tensor<?x2xi32>)
  return
}
