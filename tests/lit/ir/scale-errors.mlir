// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%weights: tensor<f32>) {
  // expected-error @+1 {{'moe.scale' op (C1) the operand has rank 2, but it is 'tensor<f32>'}}
  %0 = moe.scale %weights by 2.0 : tensor<f32>
  return
}

// -----

// (C2)
func.func @case(%weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C2) the factor is finite}}
  %0 = moe.scale %weights by 0x7FF0000000000000 : tensor<?x2xf32>
  return
}

// -----

func.func @case(%weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C2) the factor is finite}}
  %0 = moe.scale %weights by 0x7FF8000000000000 : tensor<?x2xf32>
  return
}
