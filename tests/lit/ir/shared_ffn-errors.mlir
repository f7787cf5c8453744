// RUN: moec-opt %s -verify-diagnostics -split-input-file

// (C1)
func.func @case(%hidden: tensor<?xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{'moe.shared_ffn' op (C1) hidden is [T, H], but it is 'tensor<?xf32>'}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>) -> tensor<?xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<f32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C1) hidden is [T, H], but it is 'tensor<f32>'}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<f32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>) -> tensor<f32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x?xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C1) the weights have H = 8 but the tokens have}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?x?xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>) -> tensor<?x?xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %gate: tensor<4x6x8xf32>, %up: tensor<4x6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C1) gate and up are [Is, H] and down [H, Is]}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<8x6xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %gate: tensor<6x8xf32>, %up: tensor<5x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C1) gate and up are [Is, H] and down [H, Is]}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?x8xf32>, tensor<6x8xf32>, tensor<5x8xf32>, tensor<8x6xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x5xf32>) {
  // expected-error @+1 {{(C1) gate and up are [Is, H] and down [H, Is]}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x5xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x7xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C1) the weights have H = 8 but the tokens have 7}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?x7xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>) -> tensor<?x7xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf16>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C1) weights and tokens differ in dtype}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?x8xf16>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>) -> tensor<?x8xf16> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C2)
func.func @case(%hidden: tensor<?x8xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>, %router: tensor<8xf32>) {
  // expected-error @+1 {{(C2) router is [1, 8], but it is 'tensor<8xf32>'}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down router %router : (tensor<?x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>, tensor<8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>, %router: tensor<2x8xf32>) {
  // expected-error @+1 {{(C2) router is [1, 8], but it is 'tensor<2x8xf32>'}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down router %router : (tensor<?x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>, tensor<2x8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}

// -----

// (C3)
func.func @case(%hidden: tensor<?x8xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C3) the activation takes two f32 arguments}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32):
    moe.yield %g : f32
  }
  return
}

// -----

func.func @case(%hidden: tensor<?x8xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C3) the activation holds 'arith.extf'}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %0 = arith.extf %g : f32 to f64
    moe.yield %g : f32
  }
  return
}

// -----

// (C4)
func.func @case(%hidden: tensor<?x8xf32>, %gate: tensor<6x8xf32>, %up: tensor<6x8xf32>, %down: tensor<8x6xf32>) {
  // expected-error @+1 {{(C4) the result has the type of hidden}}
  %0 = moe.shared_ffn %hidden, %gate, %up, %down : (tensor<?x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<8x6xf32>) -> tensor<?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    moe.yield %g : f32
  }
  return
}
