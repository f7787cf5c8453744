// Small model texts for tests, in phase input.
#pragma once

#include "compiler/core/LayerShape.h"

#include <fmt/format.h>

#include <string>

namespace moec::tests {

inline std::string siluRegion() {
  return R"( activation {
    ^bb0(%g: f32, %u: f32):
      %n = arith.negf %g : f32
      %e = math.exp %n : f32
      %one = arith.constant 1.0 : f32
      %d = arith.addf %e, %one : f32
      %s = arith.divf %g, %d : f32
      %h = arith.mulf %s, %u : f32
      moe.yield %h : f32
    }
)";
}

/// One layer, number 0: softmax, top-k, renormalise, experts with SiLU and, if the shape says so, biases,
/// weights on their inputs, weights that the checkpoint holds in e4m3, a shared expert (not alike: its weights are held
/// otherwise).
inline std::string tinyModel(const LayerShape &shape) {
  std::string d = dtypeName(shape.dtype);
  std::string hidden = fmt::format("tensor<?x{}x{}>", shape.hidden, d);
  std::string wide = fmt::format("tensor<{}x{}x{}x{}>", shape.experts, shape.intermediate, shape.hidden, d);
  std::string tall = fmt::format("tensor<{}x{}x{}x{}>", shape.experts, shape.hidden, shape.intermediate, d);
  std::string buffer = fmt::format("tensor<{}x?x{}x{}>", shape.experts, shape.hidden, d);
  std::string router = fmt::format("tensor<{}x{}x{}>", shape.experts, shape.hidden, d);
  std::string scores = fmt::format("tensor<?x{}xf32>", shape.experts);
  std::string ids = fmt::format("tensor<?x{}xi32>", shape.topK), weights = fmt::format("tensor<?x{}xf32>", shape.topK);
  const char *format = shape.expertFormat == WeightFormat::BlockE4M3 ? " {block_e4m3}" : "";
  std::string text = "module attributes {moe.model = \"tiny\"} {\n";
  text += fmt::format("  func.func @layer_0(%hidden: {0}) -> {0} attributes {{moe.layer = 0 : i64}} {{\n", hidden);
  text += fmt::format("    %router = moe.weight \"layers.0.gate.weight\" : {}\n", router);
  text += fmt::format("    %gate = moe.weight \"layers.0.experts.{{e}}.gate_proj.weight\"{} : {}\n", format, wide);
  text += fmt::format("    %up = moe.weight \"layers.0.experts.{{e}}.up_proj.weight\"{} : {}\n", format, wide);
  text += fmt::format("    %down = moe.weight \"layers.0.experts.{{e}}.down_proj.weight\"{} : {}\n", format, tall);
  std::string inner = fmt::format("tensor<{}x{}x{}>", shape.experts, shape.intermediate, d);
  std::string outer = fmt::format("tensor<{}x{}x{}>", shape.experts, shape.hidden, d);
  if (shape.expertBias) {
    text += fmt::format("    %gb = moe.weight \"layers.0.experts.{{e}}.gate_proj.bias\" : {}\n", inner);
    text += fmt::format("    %ub = moe.weight \"layers.0.experts.{{e}}.up_proj.bias\" : {}\n", inner);
    text += fmt::format("    %db = moe.weight \"layers.0.experts.{{e}}.down_proj.bias\" : {}\n", outer);
  }
  text += fmt::format("    %logits = moe.router %hidden, %router : ({}, {}) -> {}\n", hidden, router, scores);
  text += fmt::format("    %scores = moe.score softmax %logits : {}\n", scores);
  text += fmt::format("    %ids, %chosen = moe.top_k %scores {{k = {} : i64}} : ({}) -> ({}, {})\n", shape.topK, scores,
                      ids, weights);
  text += fmt::format("    %weights = moe.normalize %chosen : {}\n", weights);
  const char *sharedFormat = shape.sharedAlike == (*format != 0) ? " {block_e4m3}" : "";
  const std::string in = fmt::format("tensor<{}x{}x{}>", shape.sharedIntermediate, shape.hidden, d),
                    out = fmt::format("tensor<{}x{}x{}>", shape.hidden, shape.sharedIntermediate, d);
  if (shape.sharedIntermediate) {
    text += fmt::format("    %sg = moe.weight \"layers.0.shared.gate_proj.weight\"{} : {}\n", sharedFormat, in);
    text += fmt::format("    %su = moe.weight \"layers.0.shared.up_proj.weight\"{} : {}\n", sharedFormat, in);
    text += fmt::format("    %sd = moe.weight \"layers.0.shared.down_proj.weight\"{} : {}\n", sharedFormat, out);
    text += fmt::format("    %shared = moe.shared_ffn %hidden, %sg, %su, %sd : ({0}, {1}, {1}, {2}) -> {0}", hidden, in,
                        out);
    text += siluRegion();
  }
  const char *init = shape.sharedIntermediate ? " init %shared" : "";
  const bool onInput = shape.weightOnInput;
  text += fmt::format("    %buffer, %slot = moe.dispatch %hidden, %ids{4} : ({0}, {1}{5}) -> ({2}, {3})\n", hidden, ids,
                      buffer, ids, onInput ? " weights %weights {weight_on_input}" : "", onInput ? ", " + weights : "");
  text += fmt::format("    %expert = moe.expert_ffn %buffer, %gate, %up, %down{3} : ({0}, {1}, {1}, {2}{4}) -> {0}",
                      buffer, wide, tall, shape.expertBias ? " bias %gb, %ub, %db" : "",
                      shape.expertBias ? fmt::format(", {0}, {0}, {1}", inner, outer) : "");
  text += siluRegion();
  text +=
      fmt::format("    %out = moe.combine %expert, %ids, %slot{3}{5} : ({0}, {1}, {1}{4}{6}) -> {2}\n", buffer, ids,
                  hidden, onInput ? "" : ", %weights", onInput ? "" : ", " + weights, init, *init ? ", " + hidden : "");
  text += fmt::format("    return %out : {}\n  }}\n}}\n", hidden);
  return text;
}

} // namespace moec::tests
