// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%scores: tensor<?x?xf32>) {
  // expected-error @+1 {{'moe.top_k' op (C1) scores are [T, E] with a static E}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64} : (tensor<?x?xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<f32>) {
  // expected-error @+1 {{(C1) scores are [T, E] with a static E, but they are 'tensor<f32>'}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64} : (tensor<f32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>, %bias: tensor<7xf32>) {
  // expected-error @+1 {{(C1) correction is [E] with E = 8, but it is 'tensor<7xf32>'}}
  %ids, %weights = moe.top_k %scores correction %bias {k = 2 : i64} : (tensor<?x8xf32>, tensor<7xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

// (C2)
func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C2) k = 0 is not in 1..8}}
  %ids, %weights = moe.top_k %scores {k = 0 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C2) k = 9 is not in 1..8}}
  %ids, %weights = moe.top_k %scores {k = 9 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C2) k = -9223372036854775808 is not in 1..8}}
  %ids, %weights = moe.top_k %scores {k = -9223372036854775808 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

// No experts: the division by E must not happen first.
func.func @case(%scores: tensor<?x0xf32>) {
  // expected-error @+1 {{(C2) k = 1 is not in 1..0}}
  %ids, %weights = moe.top_k %scores {k = 1 : i64, groups = 1 : i64} : (tensor<?x0xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  return
}

// -----

// (C3)
func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) 3 groups do not divide 8 experts}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64, groups = 3 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) 0 groups do not divide 8 experts}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64, groups = 0 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) -2 groups do not divide 8 experts}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64, groups = -2 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) groups_picked = 5 is not in 1..4}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64, groups = 4 : i64, groups_picked = 5 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) groups_picked = 0 is not in 1..4}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64, groups = 4 : i64, groups_picked = 0 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) group_top = 3 is not in 1..2}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64, groups = 4 : i64, group_top = 3 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C3) group_top = 0 is not in 1..2}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64, groups = 4 : i64, group_top = 0 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

// (C4) 8 experts in 4 groups are 2 each; one group cannot fill k = 3.
func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C4) the picked groups hold 2 experts, fewer than k = 3}}
  %ids, %weights = moe.top_k %scores {k = 3 : i64, groups = 4 : i64, groups_picked = 1 : i64} : (tensor<?x8xf32>) -> (tensor<?x3xi32>, tensor<?x3xf32>)
  return
}

// -----

// (C5)
func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C5) ids and weights are [T, 3], but they are 'tensor<?x2xi32>' and 'tensor<?x2xf32>'}}
  %ids, %weights = moe.top_k %scores {k = 3 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C5) ids and weights are [T, 2]}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64} : (tensor<?x8xf32>) -> (tensor<5x2xi32>, tensor<5x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C5) ids and weights are [T, 2]}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<5x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{(C5) ids and weights are [T, 2]}}
  %ids, %weights = moe.top_k %scores {k = 2 : i64} : (tensor<?x8xf32>) -> (tensor<i32>, tensor<f32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{result #0 must be ranked tensor of 32-bit signless integer values}}
  %ids, %weights = "moe.top_k"(%scores) {k = 2 : i64} : (tensor<?x8xf32>) -> (tensor<*xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%scores: tensor<?x8xf32>) {
  // expected-error @+1 {{attribute 'k' failed to satisfy constraint: 64-bit signless integer attribute}}
  %ids, %weights = moe.top_k %scores {k = 2 : i32} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}
