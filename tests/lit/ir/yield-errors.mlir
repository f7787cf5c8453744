// RUN: moec-opt %s -verify-diagnostics -split-input-file

func.func @case(%x: f32) {
  // expected-error @+1 {{'moe.yield' op expects parent op to be one of 'moe.expert_ffn, moe.shared_ffn, moe.grouped_ffn, moe.launch'}}
  moe.yield %x : f32
}
