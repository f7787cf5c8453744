// RUN: moec-opt %s --pass-pipeline="builtin.module(func.func(moe-plan-memory))" | FileCheck %s

// 8 and 6 f32 each fit one line of 64 bytes, 16 elements; one is odd already.
// CHECK-LABEL: func.func @oneLine
// CHECK: hidden_stride = 16 : i64, intermediate_stride = 16 : i64
func.func @oneLine(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  %router = moe.weight "router" : tensor<4x8xf32>
  %gate = moe.weight "{e}.gate" : tensor<4x6x8xf32>
  %down = moe.weight "{e}.down" : tensor<4x8x6xf32>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x8xf32>, tensor<4x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      {slots = array<i32: 8, 8, 8, 8>, config = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 1]>}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>)
      -> (tensor<?x8xf32>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x8xf32>
}

// 64 bf16 are two lines, so three, 96 elements; 65 are three lines already.
// CHECK-LABEL: func.func @evenLines
// CHECK: hidden_stride = 96 : i64, intermediate_stride = 96 : i64
func.func @evenLines(%hidden: tensor<?x64xbf16>) -> tensor<?x64xbf16> attributes {moe.layer = 0 : i64} {
  %router = moe.weight "router" : tensor<4x64xbf16>
  %gate = moe.weight "{e}.gate" : tensor<4x65x64xbf16>
  %down = moe.weight "{e}.down" : tensor<4x64x65xbf16>
  %ids, %weights = moe.route %hidden, %router {k = 2 : i64}
      : (tensor<?x64xbf16>, tensor<4x64xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %out, %counts = moe.grouped_ffn %hidden, %ids, %weights, %gate, %gate, %down
      {slots = array<i32: 8, 8, 8, 8>, config = #moe.cpu_config<isa = "avx512bf16", compute = "bf16", rows = [4, 1]>}
      : (tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<4x65x64xbf16>, tensor<4x65x64xbf16>, tensor<4x64x65xbf16>)
      -> (tensor<?x64xbf16>, tensor<4xi32>) activation {
  ^bb0(%g: f32, %u: f32):
    %h = arith.mulf %g, %u : f32
    moe.yield %h : f32
  }
  return %out : tensor<?x64xbf16>
}
