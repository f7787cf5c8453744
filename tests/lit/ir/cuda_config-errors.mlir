// RUN: moec-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{element is 'f32', expected bf16 or f16}}
#element = #moe.cuda_config<element = "f32", gate_up = "portable-16x128-s5-w1x4-b2", down = "portable-16x128-s5-w1x4-b2", shared_gate_up = "portable-16x128-s5-w1x4-b2", shared_down = "portable-16x128-s5-w1x4-b2">

// -----

// expected-error @+1 {{'wide-16x128-s5-w1x4-b2' is no tile}}
#family = #moe.cuda_config<element = "bf16", gate_up = "wide-16x128-s5-w1x4-b2", down = "portable-16x128-s5-w1x4-b2", shared_gate_up = "portable-16x128-s5-w1x4-b2", shared_down = "portable-16x128-s5-w1x4-b2">

// -----

// A tile's text is what CudaTile::text gives: no leading zeros, nothing after its end.
// expected-error @+1 {{'portable-016x128-s5-w1x4-b2' is no tile}}
#zeros = #moe.cuda_config<element = "bf16", gate_up = "portable-16x128-s5-w1x4-b2", down = "portable-016x128-s5-w1x4-b2", shared_gate_up = "portable-16x128-s5-w1x4-b2", shared_down = "portable-16x128-s5-w1x4-b2">

// -----

// expected-error @+1 {{'portable-16x0-s5-w1x4-b2' is no tile}}
#dimension = #moe.cuda_config<element = "bf16", gate_up = "portable-16x128-s5-w1x4-b2", down = "portable-16x128-s5-w1x4-b2", shared_gate_up = "portable-16x0-s5-w1x4-b2", shared_down = "portable-16x128-s5-w1x4-b2">

// -----

// expected-error @+1 {{tile 'portable-16x128-s1-w1x4-b2' has fewer than two stages}}
#stages = #moe.cuda_config<element = "bf16", gate_up = "portable-16x128-s5-w1x4-b2", down = "portable-16x128-s5-w1x4-b2", shared_gate_up = "portable-16x128-s5-w1x4-b2", shared_down = "portable-16x128-s1-w1x4-b2">

// -----

// expected-error @+1 {{gate_up 'portable-16x128-s5-w1x4-b2' and down 'portable-32x128-s4-w1x4-b2' take different numbers of tokens}}
#tokens = #moe.cuda_config<element = "bf16", gate_up = "portable-16x128-s5-w1x4-b2", down = "portable-32x128-s4-w1x4-b2", shared_gate_up = "portable-16x128-s5-w1x4-b2", shared_down = "portable-64x128-s3-w2x2-b2">
