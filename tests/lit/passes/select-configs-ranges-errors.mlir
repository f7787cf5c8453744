// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-select-configs))" -verify-diagnostics -split-input-file

// What a text says of limits and target fits the numbers that the planner computes with.
// expected-error @+1 {{moe.limits has heights = 4294967296, expected at least 1 and at most 16}}
module attributes {moe.limits = {heights = 4294967296 : i64, pack_budget = 0 : i64, headroom = 1.25 : f64, align = 8 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 8, 8, 8, 8>}
        : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
        -> (tensor<?x8xf32>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x8xf32>
  }
}

// -----

// expected-error @+1 {{moe.limits has headroom = -1.000000e+00, expected 0.000000e+00 to 1.000000e+06}}
module attributes {moe.limits = {heights = 3 : i64, pack_budget = 0 : i64, headroom = -1.0 : f64, align = 8 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 8, 8, 8, 8>}
        : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
        -> (tensor<?x8xf32>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x8xf32>
  }
}

// -----

// expected-error @+1 {{moe.limits has headroom = nan, expected 0.000000e+00 to 1.000000e+06}}
module attributes {moe.limits = {heights = 3 : i64, pack_budget = 0 : i64, headroom = 0x7FF8000000000000 : f64, align = 8 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 8, 8, 8, 8>}
        : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
        -> (tensor<?x8xf32>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x8xf32>
  }
}

// -----

// expected-error @+1 {{moe.limits has align = 4294967304, expected at least 1 and at most 65536}}
module attributes {moe.limits = {heights = 3 : i64, pack_budget = 0 : i64, headroom = 1.25 : f64, align = 4294967304 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 8, 8, 8, 8>}
        : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
        -> (tensor<?x8xf32>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x8xf32>
  }
}

// -----

// expected-error @+1 {{moe.limits lacks a well-formed 'heights': it is an i64}}
module attributes {moe.limits = {heights = 3 : i128, pack_budget = 0 : i64, headroom = 1.25 : f64, align = 8 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 8, 8, 8, 8>}
        : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
        -> (tensor<?x8xf32>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x8xf32>
  }
}

// -----

// expected-error @+1 {{moe.target has threads = 4294967297, expected at least 1 and at most 65536}}
module attributes {moe.target = {name = "a", isa = "avx2", threads = 4294967297 : i64, l2 = 1 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 8, 8, 8, 8>}
        : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
        -> (tensor<?x8xf32>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x8xf32>
  }
}

// -----

// expected-error @+1 {{moe.target has multiprocessors = 4294967428, expected at least 1 and at most 4294967295}}
module attributes {moe.target = {name = "h100", arch = "sm_90a", gpu = "H100", multiprocessors = 4294967428 : i64, shared = 232448 : i64, l2 = 52428800 : i64, bytes_per_ns = 3350.0 : f64, flops_per_ns = 989000.0 : f64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 8, 8, 8, 8>}
        : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
        -> (tensor<?x8xf32>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x8xf32>
  }
}

// -----

// A plan whose config is of no device.
module {
  // expected-error @+1 {{moe.plan has a config that is neither #moe.cpu_config nor #moe.cuda_config}}
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64, moe.plan = {config = "avx2", slots = array<i32: 8, 8, 8, 8>, packed = array<i8: 1, 1, 1, 1>, order = array<i16: 0, 1, 2, 3>, ns = 1.0 : f64}} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        {slots = array<i32: 8, 8, 8, 8>}
        : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
        -> (tensor<?x8xf32>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      %h = arith.mulf %g, %u : f32
      moe.yield %h : f32
    }
    return %out : tensor<?x8xf32>
  }
}
