// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%logits: tensor<?xf32>) {
  // expected-error @+1 {{'moe.score' op (C1) the operand has rank 2, but it is 'tensor<?xf32>'}}
  %0 = moe.score softmax %logits : tensor<?xf32>
  return
}

// -----

func.func @case(%logits: tensor<f32>) {
  // expected-error @+1 {{(C1) the operand has rank 2, but it is 'tensor<f32>'}}
  %0 = moe.score sigmoid %logits : tensor<f32>
  return
}

// -----

func.func @case(%logits: tensor<?x4xbf16>) {
  // expected-error @+1 {{operand #0 must be ranked tensor of 32-bit float values}}
  %0 = moe.score sigmoid %logits : tensor<?x4xbf16>
  return
}

// -----

func.func @case(%logits: tensor<?x4xf32>) {
  // expected-error @+1 {{requires the same type for all operands and results}}
  %0 = "moe.score"(%logits) {kind = #moe<scoring softmax>} : (tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}
