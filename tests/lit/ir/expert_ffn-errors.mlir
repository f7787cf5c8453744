// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%buffer: tensor<?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{'moe.expert_ffn' op (C1) the buffer is [E, ?, H], but it is 'tensor<?x8xf32>'}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<f32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) the buffer is [E, ?, H], but it is 'tensor<f32>'}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<f32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<f32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x16x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) the buffer is [E, ?, H], but it is 'tensor<4x16x8xf32>'}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x16x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x16x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C1) gate and up are [E, I, H] and down [E, H, I]}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<f32>, %up: tensor<f32>, %down: tensor<f32>) {
  // expected-error @+1 {{(C1) gate and up are [E, I, H] and down [E, H, I]}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<f32>, tensor<f32>, tensor<f32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x5x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) gate and up are [E, I, H] and down [E, H, I]}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x5x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x6x8xf32>) {
  // expected-error @+1 {{(C1) gate and up are [E, I, H] and down [E, H, I]}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<5x8x6xf32>) {
  // expected-error @+1 {{(C1) gate and up are [E, I, H] and down [E, H, I]}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<5x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x7xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) the weights have H = 8 but the tokens have 7}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x7xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x7xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<3x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) the buffer has 3 experts but the weights 4}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<3x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<3x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xbf16>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) weights and tokens differ in dtype: 'f32', 'f32' and 'bf16'}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xbf16>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xbf16>) {
  // expected-error @+1 {{(C1) weights and tokens differ in dtype: 'f32', 'bf16' and 'f32'}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xbf16>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<32768x?x8xf32>, %gate: tensor<32768x6x8xf32>, %up: tensor<32768x6x8xf32>, %down: tensor<32768x8x6xf32>) {
  // expected-error @+1 {{(C1) there are 32768 experts, expected at most 32767}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<32768x?x8xf32>, tensor<32768x6x8xf32>, tensor<32768x6x8xf32>, tensor<32768x8x6xf32>) -> tensor<32768x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C2)
func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C2) the activation takes two f32 arguments}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C2) the activation takes two f32 arguments}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32, %v: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C2) the activation takes two f32 arguments}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f64):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C2) the activation takes two f32 arguments}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: tensor<2xf32>):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C2) the activation ends with moe.yield}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %0 = arith.addf %g, %u : f32
  }
  return
}

// -----

// No region, no block, an empty block, two blocks.
func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{region #0 ('activation') failed to verify constraint: region with 1 blocks}}
  %0 = "moe.expert_ffn"(%buffer, %gate, %gate, %down) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0, 0>}> ({})
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32>
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{expects a non-empty block}}
  %0 = "moe.expert_ffn"(%buffer, %gate, %gate, %down) ({^bb0(%g: f32, %u: f32):})
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32>
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{expects region #0 to have 0 or 1 blocks}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
    ^bb1(%x: f32):
    moe.yield %x : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{requires one region}}
  %0 = "moe.expert_ffn"(%buffer, %gate, %gate, %down) : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32>
  return
}

// -----

// The yield checks its own operand.
func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
  // expected-error @+1 {{op requires a single operand}}
    "moe.yield"() : () -> ()
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %true = arith.constant true
  // expected-error @+1 {{custom op 'moe.yield' invalid kind of type specified}}
    moe.yield %true : i1
  }
  return
}

// -----

// (C3)
func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C3) the activation holds 'arith.extf', expected scalar f32 and i1 ops of arith and math}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %0 = arith.extf %g : f32 to f64
    %1 = arith.truncf %0 : f64 to f32
    moe.yield %1 : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C3) the activation holds 'arith.constant'}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %0 = arith.constant dense<1.0> : tensor<2xf32>
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C3) the activation holds 'arith.constant'}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %0 = arith.constant 1 : index
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C3) the activation holds 'func.call'}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %0 = func.call @case(%g) : (f32) -> f32
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C3) the activation holds 'moe.weight'}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %0 = moe.weight "a" : tensor<2xf32>
    moe.yield %g : f32
  }
  return
}

// -----

// A value from outside.
func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %outside: f32) {
  // expected-note @+1 {{required by region isolation constraints}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
  // expected-error @+1 {{using value defined outside the region}}
    %0 = arith.addf %g, %outside : f32
    moe.yield %0 : f32
  }
  return
}

// -----

// (C4)
func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) the result has the type of the buffer}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<4x?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) the result has the type of the buffer}}
  %0 = moe.expert_ffn %buffer, %gate, %up, %down : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<f32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C5)
func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %inner: tensor<4x6xf32>, %outer: tensor<4x8xf32>) {
  // expected-error @+1 {{(C5) gate, up and down have a bias each or none has, but 2 of 3 are given}}
  %0 = "moe.expert_ffn"(%buffer, %gate, %gate, %down, %inner, %inner) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 0>}> ({
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }) : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x?x8xf32>
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %outer: tensor<4x8xf32>) {
  // expected-error @+1 {{(C5) gate, up and down have a bias each or none has, but 1 of 3 are given}}
  %0 = "moe.expert_ffn"(%buffer, %gate, %gate, %down, %outer) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0, 1>}> ({
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }) : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4x8xf32>) -> tensor<4x?x8xf32>
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %bg: tensor<4x8xf32>, %bu: tensor<4x6xf32>, %bd: tensor<4x8xf32>) {
  // expected-error @+1 {{(C5) gate_bias and up_bias are [E, I] and down_bias [E, H] with E = 4, I = 6 and H = 8, but they are 'tensor<4x8xf32>', 'tensor<4x6xf32>' and 'tensor<4x8xf32>'}}
  %0 = moe.expert_ffn %buffer, %gate, %gate, %down bias %bg, %bu, %bd
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4x8xf32>, tensor<4x6xf32>, tensor<4x8xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %bg: tensor<4x6xf32>, %bu: tensor<6xf32>, %bd: tensor<4x8xf32>) {
  // expected-error @+1 {{(C5) gate_bias and up_bias are [E, I] and down_bias [E, H] with E = 4, I = 6 and H = 8, but they are 'tensor<4x6xf32>', 'tensor<6xf32>' and 'tensor<4x8xf32>'}}
  %0 = moe.expert_ffn %buffer, %gate, %gate, %down bias %bg, %bu, %bd
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4x6xf32>, tensor<6xf32>, tensor<4x8xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %bg: tensor<4x6xf32>, %bu: tensor<4x6xf32>, %bd: tensor<4x6xf32>) {
  // expected-error @+1 {{(C5) gate_bias and up_bias are [E, I] and down_bias [E, H] with E = 4, I = 6 and H = 8, but they are 'tensor<4x6xf32>', 'tensor<4x6xf32>' and 'tensor<4x6xf32>'}}
  %0 = moe.expert_ffn %buffer, %gate, %gate, %down bias %bg, %bu, %bd
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%buffer: tensor<4x?x8xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %bg: tensor<4x6xf32>, %bu: tensor<4x6xf32>, %bd: tensor<3x8xf32>) {
  // expected-error @+1 {{(C5) gate_bias and up_bias are [E, I] and down_bias [E, H] with E = 4, I = 6 and H = 8, but they are 'tensor<4x6xf32>', 'tensor<4x6xf32>' and 'tensor<3x8xf32>'}}
  %0 = moe.expert_ffn %buffer, %gate, %gate, %down bias %bg, %bu, %bd
      : (tensor<4x?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>, tensor<3x8xf32>) -> tensor<4x?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}
