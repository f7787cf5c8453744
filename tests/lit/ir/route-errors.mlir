// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%hidden: tensor<?x7xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{'moe.route' op (C1) hidden is [T, H] and weight [E, H] with the same H}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64}
      : (tensor<?x7xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<f32>, %weight: tensor<f32>) {
  // expected-error @+1 {{(C1) hidden is [T, H]}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64}
      : (tensor<f32>, tensor<f32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>, %bias: tensor<3xf32>) {
  // expected-error @+1 {{(C1) bias is [E] with E = 4, but it is 'tensor<3xf32>'}}
  %ids, %weights = moe.route %hidden, %weight bias %bias {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<3xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

// (C2)
func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>, %correction: tensor<3xf32>) {
  // expected-error @+1 {{(C2) correction is [E] with E = 4, but it is 'tensor<3xf32>'}}
  %ids, %weights = moe.route %hidden, %weight correction %correction {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<3xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C2) k = 5 is not in 1..4}}
  %ids, %weights = moe.route %hidden, %weight {k = 5 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C2) 3 groups do not divide 4 experts}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64, groups = 3 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C2) groups_picked = 3 is not in 1..2}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64, groups = 2 : i64, groups_picked = 3 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C2) group_top = 3 is not in 1..2}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64, groups = 2 : i64, groups_picked = 2 : i64, group_top = 3 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C2) the picked groups hold 1 experts, fewer than k = 2}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64, groups = 4 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C2) ids and weights are [T, 2]}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x3xi32>, tensor<?x3xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C2) ids and weights are [T, 2]}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<7x2xi32>, tensor<7x2xf32>)
  return
}

// -----

// (C3)
func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C3) scale and epsilon are finite, epsilon is not negative}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64, scale = 0x7FF0000000000000 : f64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C3) scale and epsilon are finite}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64, epsilon = 0x7FF8000000000000 : f64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{(C3) scale and epsilon are finite, epsilon is not negative}}
  %ids, %weights = moe.route %hidden, %weight {k = 2 : i64, epsilon = -1.0 : f64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}

// -----

// Operand segments that do not add up.
func.func @case(%hidden: tensor<?x8xf32>, %weight: tensor<4x8xf32>) {
  // expected-error @+1 {{operand count (2) does not match with the total size (3) specified in attribute 'operandSegmentSizes'}}
  %ids, %weights = "moe.route"(%hidden, %weight) <{k = 2 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>}>
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  return
}
