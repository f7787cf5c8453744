// RUN: not moec-opt %s --moe-lower=to=baked 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not moec-opt %s --moe-lower=to=input 2>&1 | FileCheck %s --check-prefix=FIRST
// RUN: not moec-opt %s --pass-pipeline="builtin.module(moe-lower{to=baked})" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// A phase that there is not, and the one that lowering starts from, are errors of the command line, not a crash.
// UNKNOWN: 'baked'
// UNKNOWN-NOT: Stack dump
// FIRST: 'input'
module {}
