// RUN: moec-opt %s --moe-verify-phase=phase=input --allow-unregistered-dialect -verify-diagnostics -split-input-file

// No argument, two, of another rank, static T, dynamic H; another result.
// expected-error @+1 {{a layer takes hidden states [?, H] and returns the same type first}}
func.func @layer() attributes {moe.layer = 0 : i64} {
  return
}

// -----

// expected-error @+1 {{a layer takes hidden states [?, H] and returns the same type first}}
func.func @layer(%a: tensor<?x8xf32>, %b: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  return %a : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{a layer takes hidden states [?, H] and returns the same type first}}
func.func @layer(%a: tensor<8xf32>) -> tensor<8xf32> attributes {moe.layer = 0 : i64} {
  return %a : tensor<8xf32>
}

// -----

// expected-error @+1 {{a layer takes hidden states [?, H] and returns the same type first}}
func.func @layer(%a: tensor<f32>) -> tensor<f32> attributes {moe.layer = 0 : i64} {
  return %a : tensor<f32>
}

// -----

// expected-error @+1 {{a layer takes hidden states [?, H] and returns the same type first}}
func.func @layer(%a: tensor<*xf32>) -> tensor<*xf32> attributes {moe.layer = 0 : i64} {
  return %a : tensor<*xf32>
}

// -----

// expected-error @+1 {{a layer takes hidden states [?, H] and returns the same type first}}
func.func @layer(%a: tensor<3x8xf32>) -> tensor<3x8xf32> attributes {moe.layer = 0 : i64} {
  return %a : tensor<3x8xf32>
}

// -----

// expected-error @+1 {{a layer takes hidden states [?, H] and returns the same type first}}
func.func @layer(%a: tensor<?x?xf32>) -> tensor<?x?xf32> attributes {moe.layer = 0 : i64} {
  return %a : tensor<?x?xf32>
}

// -----

// expected-error @+1 {{a layer takes hidden states [?, H] and returns the same type first}}
func.func @layer(%a: tensor<?x8xf32>) attributes {moe.layer = 0 : i64} {
  return
}

// -----

// expected-error @+1 {{a layer takes hidden states [?, H] and returns the same type first}}
func.func private @declared(tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64}

// -----

// Which layer?
// expected-error @+1 {{a layer has its number in moe.layer}}
func.func @layer(%a: tensor<?x8xf32>) -> tensor<?x8xf32> {
  return %a : tensor<?x8xf32>
}

// -----

// The same number twice.
func.func @first(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 7 : i64} {
  return %hidden : tensor<?x8xf32>
}
// expected-error @+1 {{layer number 7 is taken twice}}
func.func @second(%hidden: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 7 : i64} {
  return %hidden : tensor<?x8xf32>
}

// -----

// Something that is no function.
module {
  // expected-error @+1 {{a model holds functions only, one a layer}}
  module {}
}

// -----

// A second block.
// expected-error @+1 {{a layer has one block}}
func.func @layer(%a: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  return %a : tensor<?x8xf32>
^bb1:
  return %a : tensor<?x8xf32>
}

// -----

// Another dialect's op.
func.func @layer(%a: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  // expected-error @+1 {{'arith.constant' is not allowed after phase input}}
  %c = arith.constant 1 : i32
  return %a : tensor<?x8xf32>
}

// -----

// A launch before its phase.
func.func @layer(%a: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  // expected-error @+1 {{'moe.launch' is not allowed after phase input}}
  %out = moe.launch store(%a) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}

// -----

// An op that no dialect knows.
func.func @layer(%a: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {moe.layer = 0 : i64} {
  // expected-error @+1 {{'foreign.op' is not allowed after phase input}}
  "foreign.op"() : () -> ()
  return %a : tensor<?x8xf32>
}
