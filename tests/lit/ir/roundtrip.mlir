// RUN: moec-opt %s | moec-opt | FileCheck %s
// RUN: moec-opt %s --mlir-print-op-generic | moec-opt | FileCheck %s
// RUN: moec-opt %s --emit-bytecode | moec-opt | FileCheck %s

// Every op, with and without its optional parts, comes back the same from its custom form, its generic form and bytecode.

// CHECK: module attributes {moe.model = "tiny", moe.phase = "input"}
module attributes {moe.model = "tiny", moe.phase = "input"} {
  // CHECK-LABEL: func.func @routing
  // CHECK-SAME: attributes {moe.layer = 0 : i64, moe.pairs = array<i32: 1, 2, 3, 2>, moe.tokens = 4 : i64}
  func.func @routing(%hidden: tensor<?x8xbf16>) -> tensor<?x8xbf16> attributes {moe.layer = 0 : i64, moe.tokens = 4 : i64, moe.pairs = array<i32: 1, 2, 3, 2>} {
    // CHECK: %[[WEIGHT:.*]] = moe.weight "router.weight" : tensor<4x8xbf16>
    %weight = moe.weight "router.weight" : tensor<4x8xbf16>
    // CHECK: %{{.*}} = moe.weight "\22quoted\\ {e}\22" : tensor<4x1xf32>
    %unused = moe.weight "\"quoted\\ {e}\"" : tensor<4x1xf32>
    // CHECK: %{{.*}} = moe.weight "matrix" {block_e4m3} : tensor<4x8xbf16>
    %matrix = moe.weight "matrix" {block_e4m3} : tensor<4x8xbf16>
    // CHECK: %{{.*}} = moe.weight "{e}.matrix" {block_e4m3} : tensor<4x6x8xf32>
    %matrices = moe.weight "{e}.matrix" {block_e4m3} : tensor<4x6x8xf32>
    // CHECK: %[[BIAS:.*]] = moe.weight "bias" : tensor<4xf32>
    %bias = moe.weight "bias" : tensor<4xf32>
    // CHECK: %[[LOGITS:.*]] = moe.router %{{.*}}, %[[WEIGHT]] : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> tensor<?x4xf32>
    %plain = moe.router %hidden, %weight : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> tensor<?x4xf32>
    // CHECK: moe.router %{{.*}}, %[[WEIGHT]] bias %[[BIAS]] : (tensor<?x8xbf16>, tensor<4x8xbf16>, tensor<4xf32>) -> tensor<?x4xf32>
    %logits = moe.router %hidden, %weight bias %bias : (tensor<?x8xbf16>, tensor<4x8xbf16>, tensor<4xf32>) -> tensor<?x4xf32>
    // CHECK: moe.score softmax %{{.*}} : tensor<?x4xf32>
    %softmax = moe.score softmax %logits : tensor<?x4xf32>
    // CHECK: moe.score sigmoid %{{.*}} : tensor<?x4xf32>
    %sigmoid = moe.score sigmoid %plain : tensor<?x4xf32>
    // CHECK: %[[IDS:.*]], %[[CHOSEN:.*]] = moe.top_k %{{.*}} {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %ids, %chosen = moe.top_k %softmax {k = 2 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    // CHECK: moe.top_k %{{.*}} correction %[[BIAS]] {group_top = 2 : i64, groups = 2 : i64, k = 1 : i64}
    %ids2, %chosen2 = moe.top_k %sigmoid correction %bias {k = 1 : i64, groups = 2 : i64, groups_picked = 1 : i64, group_top = 2 : i64}
        : (tensor<?x4xf32>, tensor<4xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
    // CHECK: %[[NORMAL:.*]] = moe.normalize %[[CHOSEN]] : tensor<?x2xf32>
    %normal = moe.normalize %chosen : tensor<?x2xf32>
    // CHECK: moe.normalize %{{.*}} {epsilon = 5.000000e-01 : f64} : tensor<?x1xf32>
    %normal2 = moe.normalize %chosen2 {epsilon = 0.5} : tensor<?x1xf32>
    // CHECK: moe.scale %[[NORMAL]] by -2.5{{0*}}e+00 : tensor<?x2xf32>
    %scaled = moe.scale %normal by -2.5 : tensor<?x2xf32>
    // CHECK: moe.count_pairs %[[IDS]] : (tensor<?x2xi32>) -> tensor<4xi32>
    %counts = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<4xi32>
    // CHECK: moe.route %{{.*}}, %[[WEIGHT]] {k = 2 : i64} : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %ids3, %weights3 = moe.route %hidden, %weight {k = 2 : i64} : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    // CHECK: moe.route %{{.*}}, %[[WEIGHT]] correction %[[BIAS]] {after = #moe<scoring sigmoid>, k = 2 : i64, scale = 2.000000e+00 : f64}
    %ids4, %weights4 = moe.route %hidden, %weight correction %bias {k = 2 : i64, after = #moe<scoring sigmoid>, scale = 2.0 : f64}
        : (tensor<?x8xbf16>, tensor<4x8xbf16>, tensor<4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    // CHECK: moe.route %{{.*}}, %[[WEIGHT]] bias %[[BIAS]] correction %[[BIAS]]
    // CHECK-SAME: {before = #moe<scoring softmax>, epsilon = 0.000000e+00 : f64, groups = 4 : i64, groups_picked = 2 : i64, k = 2 : i64}
    %ids5, %weights5 = moe.route %hidden, %weight bias %bias correction %bias
        {k = 2 : i64, before = #moe<scoring softmax>, epsilon = 0.0 : f64, groups = 4 : i64, groups_picked = 2 : i64}
        : (tensor<?x8xbf16>, tensor<4x8xbf16>, tensor<4xf32>, tensor<4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    return %hidden : tensor<?x8xbf16>
  }

  // CHECK-LABEL: func.func @experts
  func.func @experts(%hidden: tensor<?x8xf16>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>) -> tensor<?x8xf16> {
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf16>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf16>
    %sgate = moe.weight "shared.gate" : tensor<6x8xf16>
    %sdown = moe.weight "shared.down" : tensor<8x6xf16>
    %srouter = moe.weight "shared.router" : tensor<1x8xf32>
    // CHECK: %[[BUFFER:.*]], %[[SLOT:.*]] = moe.dispatch %{{.*}}, %{{.*}} : (tensor<?x8xf16>, tensor<?x2xi32>) -> (tensor<4x?x8xf16>, tensor<?x2xi32>)
    %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x8xf16>, tensor<?x2xi32>) -> (tensor<4x?x8xf16>, tensor<?x2xi32>)
    // CHECK: moe.dispatch %{{.*}}, %{{.*}} weights %{{.*}} {capacity = 3 : i64, drop = #moe<drop_policy score>, slots = array<i32: 8, 8, 16, 8>}
    %buffer2, %slot2 = moe.dispatch %hidden, %ids weights %weights
        {capacity = 3 : i64, drop = #moe<drop_policy score>, slots = array<i32: 8, 8, 16, 8>}
        : (tensor<?x8xf16>, tensor<?x2xi32>, tensor<?x2xf32>) -> (tensor<4x?x8xf16>, tensor<?x2xi32>)
    // CHECK: moe.dispatch %{{.*}}, %{{.*}} {capacity = 3 : i64, drop = #moe<drop_policy position>}
    %buffer3, %slot3 = moe.dispatch %hidden, %ids {capacity = 3 : i64, drop = #moe<drop_policy position>}
        : (tensor<?x8xf16>, tensor<?x2xi32>) -> (tensor<4x?x8xf16>, tensor<?x2xi32>)
    // CHECK: moe.dispatch %{{.*}}, %{{.*}} weights %{{.*}} {weight_on_input} :
    %buffer4, %slot4 = moe.dispatch %hidden, %ids weights %weights {weight_on_input}
        : (tensor<?x8xf16>, tensor<?x2xi32>, tensor<?x2xf32>) -> (tensor<4x?x8xf16>, tensor<?x2xi32>)
    // CHECK: %[[EXPERT:.*]] = moe.expert_ffn %[[BUFFER]], %{{.*}} : (tensor<4x?x8xf16>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>) -> tensor<4x?x8xf16> activation {
    // CHECK-NEXT: ^bb0(%[[G:.*]]: f32, %[[U:.*]]: f32):
    // CHECK-NEXT: %[[LESS:.*]] = arith.cmpf olt, %[[G]], %[[U]] : f32
    // CHECK-NEXT: %[[H:.*]] = arith.select %[[LESS]], %[[G]], %[[U]] : f32
    // CHECK-NEXT: moe.yield %[[H]] : f32
    %expert = moe.expert_ffn %buffer, %gate, %gate, %down
        : (tensor<4x?x8xf16>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>) -> tensor<4x?x8xf16> activation {
    ^bb0(%g: f32, %u: f32):
      %less = arith.cmpf olt, %g, %u : f32
      %h = arith.select %less, %g, %u : f32
      moe.yield %h : f32
    }
    // CHECK: moe.expert_ffn %[[BUFFER]], %{{.*}}, %{{.*}}, %{{.*}} bias %[[BGATE:.*]], %[[BUP:.*]], %[[BDOWN:.*]] : (tensor<4x?x8xf16>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>, tensor<4x6xf16>, tensor<4x6xf32>, tensor<4x8xbf16>) -> tensor<4x?x8xf16> activation {
    %bgate = moe.weight "{e}.gate_bias" : tensor<4x6xf16>
    %bup = moe.weight "{e}.up_bias" : tensor<4x6xf32>
    %bdown = moe.weight "{e}.down_bias" : tensor<4x8xbf16>
    %biased = moe.expert_ffn %buffer, %gate, %gate, %down bias %bgate, %bup, %bdown
        : (tensor<4x?x8xf16>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>, tensor<4x6xf16>, tensor<4x6xf32>, tensor<4x8xbf16>)
        -> tensor<4x?x8xf16> activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %u : f32
    }
    // CHECK: %[[SHARED:.*]] = moe.shared_ffn %{{.*}} : (tensor<?x8xf16>, tensor<6x8xf16>, tensor<6x8xf16>, tensor<8x6xf16>) -> tensor<?x8xf16> activation {
    %shared = moe.shared_ffn %hidden, %sgate, %sgate, %sdown
        : (tensor<?x8xf16>, tensor<6x8xf16>, tensor<6x8xf16>, tensor<8x6xf16>) -> tensor<?x8xf16> activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %u : f32
    }
    // CHECK: moe.shared_ffn %{{.*}} router %{{.*}} : (tensor<?x8xf16>, tensor<6x8xf16>, tensor<6x8xf16>, tensor<8x6xf16>, tensor<1x8xf32>) -> tensor<?x8xf16> activation {
    %gated = moe.shared_ffn %hidden, %sgate, %sgate, %sdown router %srouter
        : (tensor<?x8xf16>, tensor<6x8xf16>, tensor<6x8xf16>, tensor<8x6xf16>, tensor<1x8xf32>) -> tensor<?x8xf16> activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %g : f32
    }
    // CHECK: moe.combine %[[EXPERT]], %{{.*}}, %[[SLOT]], %{{.*}} : (tensor<4x?x8xf16>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf16>
    %out = moe.combine %expert, %ids, %slot, %weights
        : (tensor<4x?x8xf16>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x8xf16>
    // CHECK: moe.combine %[[EXPERT]], %{{.*}} init %[[SHARED]] : (tensor<4x?x8xf16>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<?x8xf16>) -> tensor<?x8xf16>
    %out2 = moe.combine %expert, %ids, %slot, %weights init %shared
        : (tensor<4x?x8xf16>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<?x8xf16>) -> tensor<?x8xf16>
    // CHECK: moe.combine %[[EXPERT]], %{{[^,]*}}, %[[SLOT]] : (tensor<4x?x8xf16>, tensor<?x2xi32>, tensor<?x2xi32>) -> tensor<?x8xf16>
    %out7 = moe.combine %expert, %ids, %slot
        : (tensor<4x?x8xf16>, tensor<?x2xi32>, tensor<?x2xi32>) -> tensor<?x8xf16>
    // CHECK: moe.combine %[[EXPERT]], %{{[^,]*}}, %[[SLOT]] init %[[SHARED]] : (tensor<4x?x8xf16>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x8xf16>) -> tensor<?x8xf16>
    %out8 = moe.combine %expert, %ids, %slot init %shared
        : (tensor<4x?x8xf16>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x8xf16>) -> tensor<?x8xf16>
    // CHECK: moe.grouped_ffn %{{.*}} : (tensor<?x8xf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>) -> (tensor<?x8xf16>, tensor<4xi32>) activation {
    %out3, %counts3 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
        : (tensor<?x8xf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>)
        -> (tensor<?x8xf16>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %g : f32
    }
    // CHECK: moe.grouped_ffn %{{.*}} init %[[SHARED]] {config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>,
    // CHECK-SAME: hidden_stride = 16 : i64, intermediate_stride = 16 : i64, order = array<i16: 3, 0, 1, 2>, packed = array<i8: 1, 0, 1, 1>, slots = array<i32: 8, 8, 16, 8>}
    %out4, %counts4 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down init %shared
        {slots = array<i32: 8, 8, 16, 8>, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>,
         packed = array<i8: 1, 0, 1, 1>, order = array<i16: 3, 0, 1, 2>, hidden_stride = 16 : i64, intermediate_stride = 16 : i64}
        : (tensor<?x8xf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>, tensor<?x8xf16>)
        -> (tensor<?x8xf16>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %g : f32
    }
    // CHECK: moe.grouped_ffn %{{.*}} bias %[[BGATE]], %[[BUP]], %[[BDOWN]] :
    %out5, %counts5 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down bias %bgate, %bup, %bdown
        : (tensor<?x8xf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>,
           tensor<4x6xf16>, tensor<4x6xf32>, tensor<4x8xbf16>) -> (tensor<?x8xf16>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %g : f32
    }
    // CHECK: moe.grouped_ffn %{{.*}} bias %[[BGATE]], %[[BUP]], %[[BDOWN]] init %[[SHARED]] :
    %out6, %counts6 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down bias %bgate, %bup, %bdown init %shared
        : (tensor<?x8xf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>,
           tensor<4x6xf16>, tensor<4x6xf32>, tensor<4x8xbf16>, tensor<?x8xf16>) -> (tensor<?x8xf16>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %g : f32
    }
    // CHECK: moe.grouped_ffn %{{.*}} init %[[SHARED]] {weight_on_input} :
    %out9, %counts9 = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down init %shared {weight_on_input}
        : (tensor<?x8xf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf16>, tensor<4x6x8xf16>, tensor<4x8x6xf16>, tensor<?x8xf16>)
        -> (tensor<?x8xf16>, tensor<4xi32>) activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %g : f32
    }
    return %out2 : tensor<?x8xf16>
  }

  // CHECK-LABEL: func.func @launches
  func.func @launches(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> {
    %weight = moe.weight "router.weight" : tensor<4x8xf32>
    %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
    // CHECK: %[[LOGITS:.*]] = moe.launch router(%{{.*}}, %{{.*}}) {columns = 4 : i64, config = #moe.cpu_config<isa = "avx512", compute = "f32", rows = [12, 8, 1]>, k = 8 : i64} : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    %logits = moe.launch router(%hidden, %weight) {k = 8 : i64, columns = 4 : i64, config = #moe.cpu_config<isa = "avx512", compute = "f32", rows = [12, 8, 1]>}
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    // CHECK: %[[CHOSEN:.*]]:2 = moe.launch route(%[[LOGITS]]) {spec = {k = 2 : i64}} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %chosen:2 = moe.launch route(%logits) {spec = {k = 2 : i64}} : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    // CHECK: %[[ROWS:.*]]:3 = moe.launch dispatch(%{{.*}}, %[[CHOSEN]]#0, %[[CHOSEN]]#1) {spec = {slots = array<i32: 8, 8, 8, 8>}}
    %rows:3 = moe.launch dispatch(%hidden, %chosen#0, %chosen#1) {spec = {slots = array<i32: 8, 8, 8, 8>}}
        : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> (tensor<?x8xf32>, tensor<?xi32>, tensor<4xi32>)
    // CHECK: moe.launch gate_up(%[[ROWS]]#0, %{{.*}}) {{.*}} -> tensor<?x6xf32> activation {
    // CHECK-NEXT: ^bb0(%{{.*}}: f32, %[[U:.*]]: f32):
    // CHECK-NEXT: moe.yield %[[U]] : f32
    %activated = moe.launch gate_up(%rows#0, %gate, %gate) {k = 8 : i64, columns = 6 : i64, config = #moe.cpu_config<isa = "avx512bf16", compute = "bf16", rows = [1]>}
        : (tensor<?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>) -> tensor<?x6xf32> activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %u : f32
    }
    // CHECK: moe.launch gate_up(%[[ROWS]]#0, %{{.*}}) {{{.*}}, weight_on_input} :
    %weighted = moe.launch gate_up(%rows#0, %gate, %gate) {weight_on_input, k = 8 : i64, columns = 6 : i64, config = #moe.cpu_config<isa = "avx512bf16", compute = "bf16", rows = [1]>}
        : (tensor<?x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>) -> tensor<?x6xf32> activation {
    ^bb0(%g: f32, %u: f32):
      moe.yield %u : f32
    }
    // CHECK: moe.launch down(%{{.*}}, %[[ROWS]]#1, %{{.*}}, %{{.*}}) {biased, columns = 8 : i64, {{.*}}, k = 6 : i64}
    %bias = moe.weight "{e}.bias" : tensor<4x8xf32>
    %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
    %sum = moe.launch down(%activated, %rows#1, %down, %bias) {biased, k = 6 : i64, columns = 8 : i64, config = #moe.cpu_config<isa = "avx512bf16", compute = "bf16", rows = [1]>}
        : (tensor<?x6xf32>, tensor<?xi32>, tensor<4x8x6xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
    // CHECK: moe.launch store(%{{.*}}) : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %out = moe.launch store(%hidden) : (tensor<?x8xf32>) -> tensor<?x8xf32>
    return %out : tensor<?x8xf32>
  }
}
