// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%weights: tensor<?xf32>) {
  // expected-error @+1 {{'moe.normalize' op (C1) the operand has rank 2, but it is 'tensor<?xf32>'}}
  %0 = moe.normalize %weights : tensor<?xf32>
  return
}

// -----

// (C2)
func.func @case(%weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C2) epsilon is finite and not negative}}
  %0 = moe.normalize %weights {epsilon = -1.0 : f64} : tensor<?x2xf32>
  return
}

// -----

func.func @case(%weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C2) epsilon is finite and not negative}}
  %0 = moe.normalize %weights {epsilon = 0x7FF0000000000000 : f64} : tensor<?x2xf32>
  return
}

// -----

func.func @case(%weights: tensor<?x2xf32>) {
  // expected-error @+1 {{(C2) epsilon is finite and not negative}}
  %0 = moe.normalize %weights {epsilon = 0x7FF8000000000000 : f64} : tensor<?x2xf32>
  return
}
