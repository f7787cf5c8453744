// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-select-configs))" -verify-diagnostics -split-input-file

// GPUs multiply two-byte elements.
module attributes {moe.target = {name = "h100", arch = "sm_90a", gpu = "H100", multiprocessors = 132 : i64, shared = 232448 : i64, l2 = 52428800 : i64, bytes_per_ns = 3350.0 : f64, flops_per_ns = 989000.0 : f64}} {
  // expected-error @+1 {{the layer is f32, but target h100 takes bf16 and f16 layers}}
  func.func @layer(%hidden: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x64xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x32x64xf32>
    %down = moe.weight "{e}.down" : tensor<4x64x32xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x64xf32>, tensor<4x64xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 128, 64, 8, 40>}
        : (tensor<?x64xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x32x64xf32>, tensor<4x32x64xf32>, tensor<4x64x32xf32>)
        -> (tensor<?x64xf32>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x64xf32>
  }
}

// -----

// A plan that was decided for another device.
module attributes {moe.target = {name = "h100", arch = "sm_90a", gpu = "H100", multiprocessors = 132 : i64, shared = 232448 : i64, l2 = 52428800 : i64, bytes_per_ns = 3350.0 : f64, flops_per_ns = 989000.0 : f64}} {
  // expected-error @+1 {{moe.plan has a config for device cpu, but target h100 is for device cuda}}
  func.func @layer(%hidden: tensor<?x64xbf16>) -> tensor<?x64xbf16> attributes {moe.layer = 0 : i64, moe.plan = {config = #moe.cpu_config<isa = "avx2", compute = "bf16", rows = [4, 1]>, slots = array<i32: 8, 8, 8, 8>, packed = array<i8: 1, 1, 1, 1>, order = array<i16: 0, 1, 2, 3>, ns = 1.0 : f64}} {
    %router = moe.weight "router" : tensor<4x64xbf16>
    %gate = moe.weight "{e}.gate" : tensor<4x32x64xbf16>
    %down = moe.weight "{e}.down" : tensor<4x64x32xbf16>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x64xbf16>, tensor<4x64xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 128, 64, 8, 40>}
        : (tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x32x64xbf16>, tensor<4x32x64xbf16>, tensor<4x64x32xbf16>)
        -> (tensor<?x64xbf16>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x64xbf16>
  }
}

// -----

// A GPU without memory.
// expected-error @+1 {{moe.target has bytes_per_ns = 0.000000e+00, expected more than 0}}
module attributes {moe.target = {name = "h100", arch = "sm_90a", gpu = "H100", multiprocessors = 132 : i64, shared = 232448 : i64, l2 = 52428800 : i64, bytes_per_ns = 0.0 : f64, flops_per_ns = 989000.0 : f64}} {
  func.func @layer(%hidden: tensor<?x64xbf16>) -> tensor<?x64xbf16> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x64xbf16>
    %gate = moe.weight "{e}.gate" : tensor<4x32x64xbf16>
    %down = moe.weight "{e}.down" : tensor<4x64x32xbf16>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x64xbf16>, tensor<4x64xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 128, 64, 8, 40>}
        : (tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x32x64xbf16>, tensor<4x32x64xbf16>, tensor<4x64x32xbf16>)
        -> (tensor<?x64xbf16>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x64xbf16>
  }
}
