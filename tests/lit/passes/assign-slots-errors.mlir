// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-assign-slots))" -verify-diagnostics -split-input-file

// A profile of too few experts.
// expected-error @+1 {{a profile has moe.tokens and a moe.pairs entry for each of 4 experts}}
func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64, moe.tokens = 10 : i64, moe.pairs = array<i32: 10, 10>} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// -----

// Pairs, but of how many tokens?
// expected-error @+1 {{a profile has moe.tokens and a moe.pairs entry}}
func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64, moe.pairs = array<i32: 5, 5, 5, 5>} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// -----

// Each entry of moe.target is there, of its type and in its range.
// expected-error @+1 {{moe.target lacks a well-formed 'isa'}}
module attributes {moe.target = {name = "a"}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
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

// expected-error @+1 {{moe.target has the unknown isa 'sse'}}
module attributes {moe.target = {name = "a", isa = "sse", threads = 1 : i64, l2 = 1 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
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

// expected-error @+1 {{moe.target lacks a well-formed 'threads'}}
module attributes {moe.target = {name = "a", isa = "avx2", threads = "all", l2 = 1 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
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

// expected-error @+1 {{moe.target has threads = 0, expected at least 1}}
module attributes {moe.target = {name = "a", isa = "avx2", threads = 0 : i64, l2 = 1 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
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

// And of moe.limits.
// expected-error @+1 {{moe.limits has heights = 0, expected at least 1}}
module attributes {moe.limits = {heights = 0 : i64, pack_budget = 0 : i64, headroom = 1.25 : f64, align = 8 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
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

// expected-error @+1 {{moe.limits lacks a well-formed 'headroom'}}
module attributes {moe.limits = {heights = 3 : i64, pack_budget = 0 : i64, headroom = 1 : i64, align = 8 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
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

// expected-error @+1 {{moe.limits has align = -8, expected at least 1}}
module attributes {moe.limits = {heights = 3 : i64, pack_budget = 0 : i64, headroom = 1.25 : f64, align = -8 : i64}} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
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

// A calibration that is no calibration.
// expected-error @+1 {{moe.calibration: calibration}}
module attributes {moe.calibration = "{}"} {
  func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "router" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
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

// A plan that was made elsewhere lacks its order.
// expected-error @+1 {{moe.plan lacks a well-formed 'order'}}
func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64, moe.plan = {config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, slots = array<i32: 8, 8, 8, 8>, packed = array<i8: 1, 1, 1, 1>, ns = 1.0 : f64}} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// -----

// A plan of another layer.
func.func @layer(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64, moe.plan = {config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, slots = array<i32: 8, 8, 8>, packed = array<i8: 1, 1, 1, 1>, order = array<i16: 0, 1, 2, 3>, ns = 1.0 : f64}} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  // expected-error @+1 {{(C4) slots have one positive entry for each of 4 experts}}
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}
