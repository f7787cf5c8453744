// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%hidden: tensor<?xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{'moe.grouped_ffn' op (C1) hidden and init are [T, H], ids and weights [T, K]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<i32>, %weights: tensor<f32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) hidden and init are [T, H]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<i32>, tensor<f32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<3x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) hidden and init are [T, H]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<3x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<3x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x3xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) hidden and init are [T, H]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x3xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %init: tensor<?x8xbf16>) {
  // expected-error @+1 {{(C1) hidden and init are [T, H]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down init %init
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<?x8xbf16>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x?xi32>, %weights: tensor<?x?xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) K is static and in 1..E with E = 4, but ids are 'tensor<?x?xi32>'}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x?xi32>, tensor<?x?xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x5xi32>, %weights: tensor<?x5xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C1) K is static and in 1..E with E = 4, but ids are 'tensor<?x5xi32>'}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x5xi32>, tensor<?x5xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C2)
func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C2) gate and up are [E, I, H] and down [E, H, I]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x7xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C2) the weights have H = 8 but the tokens have 7}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x7xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x7xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xbf16>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C2) weights and tokens differ in dtype}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<40000x6x8xf32>, %up: tensor<40000x6x8xf32>, %down: tensor<40000x8x6xf32>) {
  // expected-error @+1 {{(C2) there are 40000 experts, expected at most 32767}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<40000x6x8xf32>, tensor<40000x6x8xf32>, tensor<40000x8x6xf32>) -> (tensor<?x8xf32>, tensor<40000xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C3)
func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C3) the activation takes two f32 arguments}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C3) the activation holds 'arith.extf'}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %0 = arith.extf %g : f32 to f64
    moe.yield %g : f32
  }
  return
}

// -----

// (C4)
func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) slots have one positive entry for each of 4 experts}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {slots = array<i32: 8>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) slots have one positive entry for each of 4 experts}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {slots = array<i32: 8, 8, 0, 8>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) packed has one entry, 0 or 1, for each of 4 experts}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {packed = array<i8: 1, 1, 1>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) packed has one entry, 0 or 1, for each of 4 experts}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {packed = array<i8: 1, 1, 1, 2>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) order is a permutation of 4 experts}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {order = array<i16: 0, 1, 2>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) order is a permutation of 4 experts}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {order = array<i16: 0, 1, 2, 2>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) order is a permutation of 4 experts}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {order = array<i16: 0, 1, 2, -1>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C4) order is a permutation of 4 experts}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {order = array<i16: 0, 1, 2, 3, 0>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C5)
func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C5) output has the type of hidden and counts are [4]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C5) output has the type of hidden and counts are [4]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<5xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C5) output has the type of hidden and counts are [4]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<i32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C6)
func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C6) hidden_stride is 7, expected 8..536870912}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {hidden_stride = 7 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C6) intermediate_stride is -6, expected 6..536870912}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {intermediate_stride = -6 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>) {
  // expected-error @+1 {{(C6) hidden_stride is 9223372036854775807}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down {hidden_stride = 9223372036854775807 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C7)
func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %inner: tensor<4x6xf32>, %init: tensor<?x8xf32>) {
  // expected-error @+1 {{(C7) gate, up and down have a bias each or none has, but 1 of 3 are given}}
  %0, %1 = "moe.grouped_ffn"(%hidden, %ids, %weights, %gate, %gate, %down, %inner, %init) <{operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 0, 1, 0, 1>}> ({
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }) : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4x6xf32>, tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<4xi32>)
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>, %gate: tensor<4x6x8xf32>, %down: tensor<4x8x6xf32>, %inner: tensor<4x6xf32>) {
  // expected-error @+1 {{(C7) gate_bias and up_bias are [E, I] and down_bias [E, H]}}
  %0, %1 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down bias %inner, %inner, %inner
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x6xf32>) -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}
