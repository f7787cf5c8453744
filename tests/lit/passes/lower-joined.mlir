// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-lower-to-launches))" | FileCheck %s
// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-lower-to-launches))" | moec-opt --moe-verify-phase=phase=launches -o /dev/null

// On a GPU a shared expert that looks like a routed one has no launches of its own: its weights go to those of the routed ones.

#cuda = #moe.cuda_config<element = "bf16", gate_up = "portable-16x128-s5-w1x4-b2", down = "portable-16x128-s5-w1x4-b2", shared_gate_up = "portable-16x128-s5-w1x4-b2", shared_down = "portable-16x128-s5-w1x4-b2">
// CHECK-LABEL: func.func @alike
// CHECK-SAME: (%[[HIDDEN:.*]]: tensor<?x8xbf16>)
// CHECK-DAG: %[[GATE:.*]] = moe.weight "{{[{]}}e}.gate"
// CHECK-DAG: %[[UP:.*]] = moe.weight "{{[{]}}e}.up"
// CHECK-DAG: %[[DOWN:.*]] = moe.weight "{{[{]}}e}.down"
// CHECK-DAG: %[[SGATE:.*]] = moe.weight "shared.gate"
// CHECK-DAG: %[[SUP:.*]] = moe.weight "shared.up"
// CHECK-DAG: %[[SDOWN:.*]] = moe.weight "shared.down"
// CHECK-DAG: %[[SROUTER:.*]] = moe.weight "shared.router"
// CHECK: %[[ROWS:.*]]:3 = moe.launch dispatch(%[[HIDDEN]], %{{.*}}, %{{.*}}) {joined, spec =
// CHECK-NEXT: %[[ACTIVATED:.*]] = moe.launch gate_up(%[[ROWS]]#0, %[[GATE]], %[[UP]], %[[SGATE]], %[[SUP]]) {{{.*}}joined, k = 8 : i64}
// CHECK: %[[SUM:.*]] = moe.launch down(%[[ACTIVATED]], %[[ROWS]]#1, %[[DOWN]], %[[SDOWN]], %[[HIDDEN]], %[[SROUTER]]) {{{.*}}joined, k = 6 : i64}
// CHECK-NEXT: %[[OUT:.*]] = moe.launch store(%[[SUM]])
// CHECK-NEXT: return %[[OUT]]
func.func @alike(%hidden: tensor<?x8xbf16>) -> tensor<?x8xbf16> attributes {moe.layer = 0 : i64} {
  %router = moe.weight "router" : tensor<4x8xbf16>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xbf16>
  %up = moe.weight "{e}.up" : tensor<4x6x8xbf16>
  %down = moe.weight "{e}.down" : tensor<4x8x6xbf16>
  %sgate = moe.weight "shared.gate" : tensor<6x8xbf16>
  %sup = moe.weight "shared.up" : tensor<6x8xbf16>
  %sdown = moe.weight "shared.down" : tensor<8x6xbf16>
  %srouter = moe.weight "shared.router" : tensor<1x8xbf16>
  %shared = moe.shared_ffn %hidden, %sgate, %sup, %sdown router %srouter
      : (tensor<?x8xbf16>, tensor<6x8xbf16>, tensor<6x8xbf16>, tensor<8x6xbf16>, tensor<1x8xbf16>) -> tensor<?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down init %shared
      {slots = array<i32: 8, 8, 8, 8>, config = #cuda, packed = array<i8: 0, 0, 0, 0>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 8 : i64, intermediate_stride = 6 : i64}
      : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xbf16>, tensor<4x6x8xbf16>, tensor<4x8x6xbf16>, tensor<?x8xbf16>)
      -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xbf16>
}

// CHECK-LABEL: func.func @ungated
// CHECK-NOT: moe.launch shared
// CHECK: moe.launch down(%{{.*}}, %{{.*}}, %{{.*}}, %{{[^,]*}}) {{{.*}}joined
func.func @ungated(%hidden: tensor<?x8xbf16>) -> tensor<?x8xbf16> attributes {moe.layer = 1 : i64} {
  %router = moe.weight "router" : tensor<4x8xbf16>
  %gate = moe.weight "{e}.gate" {block_e4m3} : tensor<4x6x8xbf16>
  %up = moe.weight "{e}.up" {block_e4m3} : tensor<4x6x8xbf16>
  %down = moe.weight "{e}.down" {block_e4m3} : tensor<4x8x6xbf16>
  %sgate = moe.weight "shared.gate" {block_e4m3} : tensor<6x8xbf16>
  %sup = moe.weight "shared.up" {block_e4m3} : tensor<6x8xbf16>
  %sdown = moe.weight "shared.down" {block_e4m3} : tensor<8x6xbf16>
  %shared = moe.shared_ffn %hidden, %sgate, %sup, %sdown
      : (tensor<?x8xbf16>, tensor<6x8xbf16>, tensor<6x8xbf16>, tensor<8x6xbf16>) -> tensor<?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down init %shared
      {slots = array<i32: 8, 8, 8, 8>, config = #cuda, packed = array<i8: 0, 0, 0, 0>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 8 : i64, intermediate_stride = 6 : i64}
      : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xbf16>, tensor<4x6x8xbf16>, tensor<4x8x6xbf16>, tensor<?x8xbf16>)
      -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xbf16>
}

// What differs in anything stays apart: in size, in activation, in how its weights are stored; one that somebody else waits for
// too; and all of them on a CPU.
// CHECK-LABEL: func.func @wider
// CHECK: moe.launch dispatch(
// CHECK-NOT: joined
// CHECK: moe.launch shared_gate_up(
// CHECK: moe.launch shared_down(
// CHECK: moe.launch gate_up(
// CHECK-NOT: joined
// CHECK: moe.launch store(
func.func @wider(%hidden: tensor<?x8xbf16>) -> tensor<?x8xbf16> attributes {moe.layer = 2 : i64} {
  %router = moe.weight "router" : tensor<4x8xbf16>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xbf16>
  %up = moe.weight "{e}.up" : tensor<4x6x8xbf16>
  %down = moe.weight "{e}.down" : tensor<4x8x6xbf16>
  %sgate = moe.weight "shared.gate" : tensor<5x8xbf16>
  %sup = moe.weight "shared.up" : tensor<5x8xbf16>
  %sdown = moe.weight "shared.down" : tensor<8x5xbf16>
  %srouter = moe.weight "shared.router" : tensor<1x8xbf16>
  %shared = moe.shared_ffn %hidden, %sgate, %sup, %sdown router %srouter
      : (tensor<?x8xbf16>, tensor<5x8xbf16>, tensor<5x8xbf16>, tensor<8x5xbf16>, tensor<1x8xbf16>) -> tensor<?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down init %shared
      {slots = array<i32: 8, 8, 8, 8>, config = #cuda, packed = array<i8: 0, 0, 0, 0>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 8 : i64, intermediate_stride = 6 : i64}
      : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xbf16>, tensor<4x6x8xbf16>, tensor<4x8x6xbf16>, tensor<?x8xbf16>)
      -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xbf16>
}

// CHECK-LABEL: func.func @activated
// CHECK: moe.launch dispatch(
// CHECK-NOT: joined
// CHECK: moe.launch shared_gate_up(
// CHECK: moe.launch shared_down(
// CHECK: moe.launch gate_up(
// CHECK-NOT: joined
// CHECK: moe.launch store(
func.func @activated(%hidden: tensor<?x8xbf16>) -> tensor<?x8xbf16> attributes {moe.layer = 3 : i64} {
  %router = moe.weight "router" : tensor<4x8xbf16>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xbf16>
  %up = moe.weight "{e}.up" : tensor<4x6x8xbf16>
  %down = moe.weight "{e}.down" : tensor<4x8x6xbf16>
  %sgate = moe.weight "shared.gate" : tensor<6x8xbf16>
  %sup = moe.weight "shared.up" : tensor<6x8xbf16>
  %sdown = moe.weight "shared.down" : tensor<8x6xbf16>
  %srouter = moe.weight "shared.router" : tensor<1x8xbf16>
  %shared = moe.shared_ffn %hidden, %sgate, %sup, %sdown router %srouter
      : (tensor<?x8xbf16>, tensor<6x8xbf16>, tensor<6x8xbf16>, tensor<8x6xbf16>, tensor<1x8xbf16>) -> tensor<?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.addf %g, %u : f32
    moe.yield %h : f32
  }
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down init %shared
      {slots = array<i32: 8, 8, 8, 8>, config = #cuda, packed = array<i8: 0, 0, 0, 0>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 8 : i64, intermediate_stride = 6 : i64}
      : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xbf16>, tensor<4x6x8xbf16>, tensor<4x8x6xbf16>, tensor<?x8xbf16>)
      -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xbf16>
}

// CHECK-LABEL: func.func @stored
// CHECK: moe.launch dispatch(
// CHECK-NOT: joined
// CHECK: moe.launch shared_gate_up(
// CHECK: moe.launch shared_down(
// CHECK: moe.launch gate_up(
// CHECK-NOT: joined
// CHECK: moe.launch store(
func.func @stored(%hidden: tensor<?x8xbf16>) -> tensor<?x8xbf16> attributes {moe.layer = 4 : i64} {
  %router = moe.weight "router" : tensor<4x8xbf16>
  %gate = moe.weight "{e}.gate" {block_e4m3} : tensor<4x6x8xbf16>
  %up = moe.weight "{e}.up" {block_e4m3} : tensor<4x6x8xbf16>
  %down = moe.weight "{e}.down" {block_e4m3} : tensor<4x8x6xbf16>
  %sgate = moe.weight "shared.gate" : tensor<6x8xbf16>
  %sup = moe.weight "shared.up" : tensor<6x8xbf16>
  %sdown = moe.weight "shared.down" : tensor<8x6xbf16>
  %srouter = moe.weight "shared.router" : tensor<1x8xbf16>
  %shared = moe.shared_ffn %hidden, %sgate, %sup, %sdown router %srouter
      : (tensor<?x8xbf16>, tensor<6x8xbf16>, tensor<6x8xbf16>, tensor<8x6xbf16>, tensor<1x8xbf16>) -> tensor<?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down init %shared
      {slots = array<i32: 8, 8, 8, 8>, config = #cuda, packed = array<i8: 0, 0, 0, 0>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 8 : i64, intermediate_stride = 6 : i64}
      : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xbf16>, tensor<4x6x8xbf16>, tensor<4x8x6xbf16>, tensor<?x8xbf16>)
      -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xbf16>
}

// CHECK-LABEL: func.func @awaited
// CHECK: moe.launch dispatch(
// CHECK-NOT: joined
// CHECK: moe.launch shared_gate_up(
// CHECK: moe.launch shared_down(
// CHECK: moe.launch gate_up(
// CHECK-NOT: joined
// CHECK: moe.launch store(
func.func @awaited(%hidden: tensor<?x8xbf16>) -> (tensor<?x8xbf16>, tensor<?x8xbf16>) attributes {moe.layer = 5 : i64} {
  %router = moe.weight "router" : tensor<4x8xbf16>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xbf16>
  %up = moe.weight "{e}.up" : tensor<4x6x8xbf16>
  %down = moe.weight "{e}.down" : tensor<4x8x6xbf16>
  %sgate = moe.weight "shared.gate" : tensor<6x8xbf16>
  %sup = moe.weight "shared.up" : tensor<6x8xbf16>
  %sdown = moe.weight "shared.down" : tensor<8x6xbf16>
  %srouter = moe.weight "shared.router" : tensor<1x8xbf16>
  %shared = moe.shared_ffn %hidden, %sgate, %sup, %sdown router %srouter
      : (tensor<?x8xbf16>, tensor<6x8xbf16>, tensor<6x8xbf16>, tensor<8x6xbf16>, tensor<1x8xbf16>) -> tensor<?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down init %shared
      {slots = array<i32: 8, 8, 8, 8>, config = #cuda, packed = array<i8: 0, 0, 0, 0>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 8 : i64, intermediate_stride = 6 : i64}
      : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xbf16>, tensor<4x6x8xbf16>, tensor<4x8x6xbf16>, tensor<?x8xbf16>)
      -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out, %shared : tensor<?x8xbf16>, tensor<?x8xbf16>
}

// CHECK-LABEL: func.func @cpu
// CHECK: moe.launch dispatch(
// CHECK-NOT: joined
// CHECK: moe.launch shared_gate_up(
// CHECK: moe.launch shared_down(
// CHECK: moe.launch gate_up(
// CHECK-NOT: joined
// CHECK: moe.launch store(
func.func @cpu(%hidden: tensor<?x8xbf16>) -> tensor<?x8xbf16> attributes {moe.layer = 6 : i64} {
  %router = moe.weight "router" : tensor<4x8xbf16>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xbf16>
  %up = moe.weight "{e}.up" : tensor<4x6x8xbf16>
  %down = moe.weight "{e}.down" : tensor<4x8x6xbf16>
  %sgate = moe.weight "shared.gate" : tensor<6x8xbf16>
  %sup = moe.weight "shared.up" : tensor<6x8xbf16>
  %sdown = moe.weight "shared.down" : tensor<8x6xbf16>
  %srouter = moe.weight "shared.router" : tensor<1x8xbf16>
  %shared = moe.shared_ffn %hidden, %sgate, %sup, %sdown router %srouter
      : (tensor<?x8xbf16>, tensor<6x8xbf16>, tensor<6x8xbf16>, tensor<8x6xbf16>, tensor<1x8xbf16>) -> tensor<?x8xbf16> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down init %shared
      {slots = array<i32: 8, 8, 8, 8>, config = #moe.cpu_config<isa = "avx512bf16", compute = "bf16", rows = [4, 1]>, packed = array<i8: 0, 0, 0, 0>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 8 : i64, intermediate_stride = 6 : i64}
      : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xbf16>, tensor<4x6x8xbf16>, tensor<4x8x6xbf16>, tensor<?x8xbf16>)
      -> (tensor<?x8xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xbf16>
}
