// RUN: moec-opt %s --moe-verify-phase=phase=baked -verify-diagnostics

// expected-error @+1 {{unknown phase 'baked'}}
module {}
