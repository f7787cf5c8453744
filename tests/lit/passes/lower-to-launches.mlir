// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-lower-to-launches))" | FileCheck %s

// The router and both GEMMs get the config; route keeps what moe.route said, dispatch the table and the strides; only
// gate_up has the activation; nothing but launches and weights is left.
// CHECK-LABEL: func.func @plain
// CHECK-SAME: (%[[HIDDEN:.*]]: tensor<?x8xf32>)
// CHECK-DAG: %[[ROUTER:.*]] = moe.weight "router"
// CHECK-DAG: %[[GATE:.*]] = moe.weight "{{[{]}}e}.gate"
// CHECK-DAG: %[[DOWN:.*]] = moe.weight "{{[{]}}e}.down"
// CHECK: %[[LOGITS:.*]] = moe.launch router(%[[HIDDEN]], %[[ROUTER]]) {columns = 4 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, k = 8 : i64} : {{.*}} -> tensor<?x4xf32>
// CHECK-NEXT: %[[CHOSEN:.*]]:2 = moe.launch route(%[[LOGITS]]) {spec = {group_top = 1 : i64, groups = 1 : i64, groups_picked = 1 : i64, k = 2 : i64, scale = 1.0{{0*}}e+00 : f64}} :
// CHECK-NEXT: %[[ROWS:.*]]:3 = moe.launch dispatch(%[[HIDDEN]], %[[CHOSEN]]#0, %[[CHOSEN]]#1)
// CHECK-SAME: {spec = {hidden_stride = 16 : i64, intermediate_stride = 16 : i64, order = array<i16: 3, 0, 1, 2>, packed = array<i8: 1, 0, 1, 1>, slots = array<i32: 8, 8, 8, 8>}}
// CHECK-SAME: -> (tensor<?x8xf32>, tensor<?xi32>, tensor<4xi32>)
// CHECK-NEXT: %[[ACTIVATED:.*]] = moe.launch gate_up(%[[ROWS]]#0, %[[GATE]], %[[GATE]]) {columns = 6 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, k = 8 : i64} : {{.*}} -> tensor<?x6xf32> activation {
// CHECK-NEXT: ^bb0(%[[G:.*]]: f32, %[[U:.*]]: f32):
// CHECK-NEXT: %[[H:.*]] = arith.mulf %[[G]], %[[U]]
// CHECK-NEXT: moe.yield %[[H]]
// CHECK-NEXT: }
// CHECK-NEXT: %[[SUM:.*]] = moe.launch down(%[[ACTIVATED]], %[[ROWS]]#1, %[[DOWN]]) {columns = 8 : i64, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, k = 6 : i64} : {{.*}} -> tensor<?x8xf32>
// CHECK-NEXT: %[[OUT:.*]] = moe.launch store(%[[SUM]]) :
// CHECK-NEXT: return %[[OUT]]
func.func @plain(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      {slots = array<i32: 8, 8, 8, 8>, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, packed = array<i8: 1, 0, 1, 1>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 16 : i64, intermediate_stride = 16 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// The shared expert runs before the routed ones, each with its own activation, and the sums begin with its result. Biases go
// where they are used: the router's to the router, the correction to route.
// CHECK-LABEL: func.func @shared
// CHECK-DAG: %[[BIAS:.*]] = moe.weight "bias"
// CHECK-DAG: %[[SROUTER:.*]] = moe.weight "shared.router"
// CHECK: %[[LOGITS:.*]] = moe.launch router(%[[HIDDEN:.*]], %{{.*}}, %[[BIAS]])
// CHECK-NEXT: moe.launch route(%[[LOGITS]], %[[BIAS]]) {spec = {{[{].*}}k = 2 : i64, scale = 2.0{{0*}}e+00 : f64}}
// CHECK-NEXT: moe.launch dispatch(
// CHECK-NEXT: %[[ROWS:.*]] = moe.launch shared_gate_up(%[[HIDDEN]], %{{.*}}, %{{.*}}) {columns = 5 : i64, {{.*}}, k = 8 : i64}
// CHECK: arith.addf
// CHECK: %[[SHARED:.*]] = moe.launch shared_down(%[[ROWS]], %{{.*}}, %[[HIDDEN]], %[[SROUTER]]) {columns = 8 : i64, {{.*}}, k = 5 : i64}
// CHECK: moe.launch gate_up(
// CHECK: arith.mulf
// CHECK: moe.launch down(%{{.*}}, %{{.*}}, %{{.*}}, %[[SHARED]])
// CHECK: moe.launch store(
func.func @shared(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 1 : i64} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %bias = moe.weight "bias" : tensor<4xf32>
  %sgate = moe.weight "shared.gate" : tensor<5x8xf32>
  %sdown = moe.weight "shared.down" : tensor<8x5xf32>
  %srouter = moe.weight "shared.router" : tensor<1x8xf32>
  %shared = moe.shared_ffn %hidden, %sgate, %sgate, %sdown router %srouter
      : (tensor<?x8xf32>, tensor<5x8xf32>, tensor<5x8xf32>, tensor<8x5xf32>, tensor<1x8xf32>) -> tensor<?x8xf32> activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.addf %g, %u : f32
    moe.yield %h : f32
  }
  %ids, %weights = moe.route %hidden, %router bias %bias correction %bias {k = 2 : i64, scale = 2.0 : f64}
      : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<4xf32>, tensor<4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down init %shared
      {slots = array<i32: 8, 8, 8, 8>, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, packed = array<i8: 1, 0, 1, 1>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 16 : i64, intermediate_stride = 16 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<?x8xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// Biases follow the weights that they belong to, and the launches say that they have them.
// CHECK-LABEL: func.func @biased
// CHECK-DAG: %[[GATE:.*]] = moe.weight "{{[{]}}e}.gate"
// CHECK-DAG: %[[UP:.*]] = moe.weight "{{[{]}}e}.up"
// CHECK-DAG: %[[DOWN:.*]] = moe.weight "{{[{]}}e}.down"
// CHECK-DAG: %[[GATE_BIAS:.*]] = moe.weight "{{[{]}}e}.gate_bias"
// CHECK-DAG: %[[UP_BIAS:.*]] = moe.weight "{{[{]}}e}.up_bias"
// CHECK-DAG: %[[DOWN_BIAS:.*]] = moe.weight "{{[{]}}e}.down_bias"
// CHECK: moe.launch gate_up(%{{.*}}, %[[GATE]], %[[UP]], %[[GATE_BIAS]], %[[UP_BIAS]]) {biased,
// CHECK: moe.launch down(%{{.*}}, %{{.*}}, %[[DOWN]], %[[DOWN_BIAS]]) {biased,
func.func @biased(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 2 : i64} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %up = moe.weight "{e}.up" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %gbias = moe.weight "{e}.gate_bias" : tensor<4x6xf32>
  %ubias = moe.weight "{e}.up_bias" : tensor<4x6xf32>
  %dbias = moe.weight "{e}.down_bias" : tensor<4x8xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down bias %gbias, %ubias, %dbias
      {slots = array<i32: 8, 8, 8, 8>, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, packed = array<i8: 1, 0, 1, 1>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 16 : i64, intermediate_stride = 16 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>,
         tensor<4x6xf32>, tensor<4x6xf32>, tensor<4x8xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// Weights on the experts' input are gate_up's alone to multiply by.
// CHECK-LABEL: func.func @weightOnInput
// CHECK: moe.launch dispatch(%{{.*}}, %{{.*}}, %{{.*}})
// CHECK: moe.launch gate_up(%{{.*}}) {{{.*}}, weight_on_input} :
// CHECK: moe.launch down(
// CHECK-NOT: weight_on_input
func.func @weightOnInput(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 3 : i64} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %up = moe.weight "{e}.up" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 1 : i64, after = #moe<scoring sigmoid>}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %up, %down
      {slots = array<i32: 8, 8, 8, 8>, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>, packed = array<i8: 1, 0, 1, 1>,
       order = array<i16: 3, 0, 1, 2>, hidden_stride = 16 : i64, intermediate_stride = 16 : i64, weight_on_input}
      : (tensor<?x8xf32>, tensor<?x1xi32>, tensor<?x1xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}
