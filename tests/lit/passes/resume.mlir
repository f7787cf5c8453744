// Lowering step by step through printed text ends where lowering at once does, and so does starting again from any phase.
// RUN: moec-opt %S/lower.mlir --moe-lower=to=planned -o %t.once
// RUN: moec-opt %S/lower.mlir --moe-lower=to=grouped | moec-opt --moe-lower=to=sized | moec-opt --moe-lower=to=selected \
// RUN:   | moec-opt --moe-lower=to=planned | diff %t.once -
// RUN: moec-opt %t.once --moe-lower=to=planned | diff %t.once -

// The passes of one phase alone, on the text of the phase before it.
// RUN: moec-opt %S/lower.mlir --moe-lower=to=sized \
// RUN:   | moec-opt --pass-pipeline="builtin.module(moe-verify-phase{phase=sized},func.func(moe-select-configs),moe-verify-phase{phase=selected})" \
// RUN:   | moec-opt --pass-pipeline="builtin.module(func.func(moe-plan-memory),moe-verify-phase{phase=planned})" | diff %t.once -

// RUN: moec-opt %S/lower.mlir --moe-lower=to=launches -o %t.launches
// RUN: moec-opt %t.once --moe-lower=to=launches | diff %t.launches -
// RUN: moec-opt %t.launches --mlir-print-op-generic | moec-opt | diff %t.launches -
