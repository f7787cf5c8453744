// RUN: moec-opt %s | moec-opt | FileCheck %s

// A config survives printing and parsing, whatever families its tiles are of.
// CHECK: test.config = #moe.cuda_config<element = "f16", gate_up = "hopper-128x256-s4-w2x1-b1", down = "portable-128x128-s3-w2x4-b2", shared_gate_up = "portable-16x128-s5-w1x4-b2", shared_down = "portable-128x128-s3-w2x4-b2">
module attributes {test.config = #moe.cuda_config<element = "f16", gate_up = "hopper-128x256-s4-w2x1-b1",
                                                   down = "portable-128x128-s3-w2x4-b2", shared_gate_up = "portable-16x128-s5-w1x4-b2",
                                                   shared_down = "portable-128x128-s3-w2x4-b2">} {
}
