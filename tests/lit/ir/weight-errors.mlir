// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case() {
  // expected-error @+1 {{'moe.weight' op (C1) the name is empty or holds control characters}}
  %0 = moe.weight "" : tensor<4x8xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{(C1) the name is empty or holds control characters}}
  %0 = moe.weight "a\0Ab" : tensor<4x8xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{(C1) the name is empty or holds control characters}}
  %0 = moe.weight "a\7F" : tensor<4x8xf32>
  return
}

// -----

// (C2)
func.func @case() {
  // expected-error @+1 {{(C2) 'a.{e}.b' is per expert, so its tensor has rank 2 or more, but it is 'tensor<4xf32>'}}
  %0 = moe.weight "a.{e}.b" : tensor<4xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{(C2) '{e}' is per expert}}
  %0 = moe.weight "{e}" : tensor<f32>
  return
}

// -----

// (C3)
func.func @case() {
  // expected-error @+1 {{(C3) a dimension of 'a' is 0, expected 1..268435456}}
  %0 = moe.weight "a" : tensor<4x0xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{(C3) a dimension of 'a' is 268435457}}
  %0 = moe.weight "a" : tensor<268435457xf32>
  return
}

// -----

// (C4)
func.func @case() {
  // expected-error @+1 {{(C4) block_e4m3 is on matrices, but 'a' is 'tensor<4xf32>'}}
  %0 = moe.weight "a" {block_e4m3} : tensor<4xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{(C4) block_e4m3 is on matrices, but 'a' is 'tensor<4x8x16xf32>'}}
  %0 = moe.weight "a" {block_e4m3} : tensor<4x8x16xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{(C4) block_e4m3 is on matrices, but '{e}.a' is 'tensor<4x8xf32>'}}
  %0 = moe.weight "{e}.a" {block_e4m3} : tensor<4x8xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{(C4) block_e4m3 is on matrices, but '{e}.a' is 'tensor<4x8x16x2xf32>'}}
  %0 = moe.weight "{e}.a" {block_e4m3} : tensor<4x8x16x2xf32>
  return
}

// -----

// Shapes are static, and dtypes those of checkpoints.
func.func @case() {
  // expected-error @+1 {{result #0 must be statically shaped tensor}}
  %0 = moe.weight "a" : tensor<4x?xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{invalid kind of type specified: expected builtin.tensor, but found 'tensor<*xf32>'}}
  %0 = moe.weight "a" : tensor<*xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{result #0 must be statically shaped tensor}}
  %0 = moe.weight "a" : tensor<4xf64>
  return
}
