// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%ids: tensor<?xi32>) {
  // expected-error @+1 {{'moe.count_pairs' op (C1) ids are [T, K] and counts [E], static, with K in 1..E}}
  %0 = moe.count_pairs %ids : (tensor<?xi32>) -> tensor<8xi32>
  return
}

// -----

func.func @case(%ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C1) ids are [T, K]}}
  %0 = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<?xi32>
  return
}

// -----

func.func @case(%ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C1) ids are [T, K]}}
  %0 = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<i32>
  return
}

// -----

func.func @case(%ids: tensor<?x2xi32>) {
  // expected-error @+1 {{(C1) ids are [T, K]}}
  %0 = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<1xi32>
  return
}

// -----

func.func @case(%ids: tensor<?x?xi32>) {
  // expected-error @+1 {{(C1) ids are [T, K]}}
  %0 = moe.count_pairs %ids : (tensor<?x?xi32>) -> tensor<8xi32>
  return
}

// -----

func.func @case(%ids: tensor<?x2xi64>) {
  // expected-error @+1 {{operand #0 must be ranked tensor of 32-bit signless integer values}}
  %0 = moe.count_pairs %ids : (tensor<?x2xi64>) -> tensor<8xi32>
  return
}
