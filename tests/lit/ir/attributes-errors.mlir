// RUN: moec-opt %s -verify-diagnostics -split-input-file

// expected-error @+1 {{moe.layer is an i64 in 0..2147483647, but it is 3 : i32}}
func.func private @case() attributes {moe.layer = 3 : i32}

// -----

// expected-error @+1 {{moe.layer is an i64 in 0..2147483647, but it is -1}}
func.func private @case() attributes {moe.layer = -1 : i64}

// -----

// expected-error @+1 {{moe.layer is an i64 in 0..2147483647}}
func.func private @case() attributes {moe.layer = 2147483648 : i64}

// -----

// expected-error @+1 {{moe.layer is an i64 in 0..2147483647}}
func.func private @case() attributes {moe.layer = 3 : i129}

// -----

// expected-error @+1 {{moe.layer is an i64 in 0..2147483647}}
func.func private @case() attributes {moe.layer = "3"}

// -----

// expected-error @+1 {{moe.tokens is an i64 in 0..2147483647, but it is -1}}
func.func private @case() attributes {moe.tokens = -1 : i64}

// -----

// expected-error @+1 {{moe.tokens is an i64 in 0..2147483647}}
func.func private @case() attributes {moe.tokens = 1.0 : f64}

// -----

// expected-error @+1 {{moe.pairs is an array of i32 that are not negative}}
func.func private @case() attributes {moe.pairs = array<i32: 1, -1>}

// -----

// expected-error @+1 {{moe.pairs is an array of i32 that are not negative}}
func.func private @case() attributes {moe.pairs = array<i64: 1>}

// -----

// expected-error @+1 {{moe.pairs is an array of i32 that are not negative}}
func.func private @case() attributes {moe.pairs = dense<1> : tensor<2xi32>}

// -----

// expected-error @+1 {{moe.phase is a string, but it is 3}}
func.func private @case() attributes {moe.phase = 3 : i64}

// -----

// expected-error @+1 {{moe.model is a string, but it is unit}}
func.func private @case() attributes {moe.model}

// -----

// expected-error @+1 {{isa is 'sse', expected avx2, avx512 or avx512bf16}}
func.func private @case() attributes {a = #moe.cpu_config<isa = "sse", compute = "f32", rows = [4, 1]>}

// -----

// expected-error @+1 {{compute is 'f16', expected f32 or bf16}}
func.func private @case() attributes {a = #moe.cpu_config<isa = "avx2", compute = "f16", rows = [4, 1]>}

// -----

// expected-error @+1 {{tile height 6 is not in 1..5 of avx2}}
func.func private @case() attributes {a = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [6]>}

// -----

// expected-error @+1 {{tile height 14 is not in 1..13 of avx512}}
func.func private @case() attributes {a = #moe.cpu_config<isa = "avx512", compute = "f32", rows = [14]>}

// -----

// expected-error @+1 {{tile height 0 is not in 1..5 of avx2}}
func.func private @case() attributes {a = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 0]>}

// -----

// expected-error @+1 {{tile heights must descend, but 4 follows 1}}
func.func private @case() attributes {a = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [1, 4]>}

// -----

// expected-error @+1 {{tile heights must descend, but 4 follows 4}}
func.func private @case() attributes {a = #moe.cpu_config<isa = "avx2", compute = "f32", rows = [4, 4]>}

// -----

// expected-error @+1 {{unknown phase "baked"}}
module attributes {moe.phase = "baked"} {}
