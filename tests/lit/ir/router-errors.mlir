// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%hidden: tensor<?x7xbf16>, %weight: tensor<4x8xbf16>) {
  // expected-error @+1 {{'moe.router' op (C1) hidden is [T, H] and weight [E, H] with the same H}}
  %0 = moe.router %hidden, %weight : (tensor<?x7xbf16>, tensor<4x8xbf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @case(%hidden: tensor<?x?xbf16>, %weight: tensor<4x8xbf16>) {
  // expected-error @+1 {{(C1) hidden is}}
  %0 = moe.router %hidden, %weight : (tensor<?x?xbf16>, tensor<4x8xbf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @case(%hidden: tensor<bf16>, %weight: tensor<bf16>) {
  // expected-error @+1 {{(C1) hidden is}}
  %0 = moe.router %hidden, %weight : (tensor<bf16>, tensor<bf16>) -> tensor<f32>
  return
}

// -----

func.func @case(%hidden: tensor<?x8xbf16>, %weight: tensor<8xbf16>) {
  // expected-error @+1 {{(C1) hidden is}}
  %0 = moe.router %hidden, %weight : (tensor<?x8xbf16>, tensor<8xbf16>) -> tensor<?x4xf32>
  return
}

// -----

// (C2)
func.func @case(%hidden: tensor<?x8xbf16>, %weight: tensor<4x8xbf16>, %bias: tensor<5xf32>) {
  // expected-error @+1 {{(C2) bias is [E] with E = 4, but it is 'tensor<5xf32>'}}
  %0 = moe.router %hidden, %weight bias %bias : (tensor<?x8xbf16>, tensor<4x8xbf16>, tensor<5xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @case(%hidden: tensor<?x8xbf16>, %weight: tensor<4x8xbf16>, %bias: tensor<f32>) {
  // expected-error @+1 {{(C2) bias is [E] with E = 4}}
  %0 = moe.router %hidden, %weight bias %bias : (tensor<?x8xbf16>, tensor<4x8xbf16>, tensor<f32>) -> tensor<?x4xf32>
  return
}

// -----

// (C3)
func.func @case(%hidden: tensor<?x8xbf16>, %weight: tensor<4x8xbf16>) {
  // expected-error @+1 {{(C3) logits are [T, E] with E = 4, but they are 'tensor<?x5xf32>'}}
  %0 = moe.router %hidden, %weight : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> tensor<?x5xf32>
  return
}

// -----

func.func @case(%hidden: tensor<?x8xbf16>, %weight: tensor<4x8xbf16>) {
  // expected-error @+1 {{(C3) logits are [T, E]}}
  %0 = moe.router %hidden, %weight : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> tensor<3x4xf32>
  return
}

// -----

func.func @case(%hidden: tensor<?x8xbf16>, %weight: tensor<4x8xbf16>) {
  // expected-error @+1 {{(C3) logits are [T, E]}}
  %0 = moe.router %hidden, %weight : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> tensor<f32>
  return
}

// -----

func.func @case(%hidden: tensor<?x8xbf16>, %weight: tensor<4x8xbf16>) {
  // expected-error @+1 {{result #0 must be ranked tensor of 32-bit float values}}
  %0 = moe.router %hidden, %weight : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> tensor<?x4xbf16>
  return
}
