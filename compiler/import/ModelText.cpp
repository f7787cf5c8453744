#include "compiler/import/ModelText.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace moec::importer {

namespace {

/// Writes the function of one layer, an op a line.
class LayerWriter {
public:
  LayerWriter(const ModelSpec &spec, uint32_t layer, std::string &text)
      : spec(spec), shape(spec.shape), layer(layer), dtype(dtypeName(shape.dtype)),
        tokens(fmt::format("tensor<?x{}x{}>", shape.hidden, dtype)),
        scores(fmt::format("tensor<?x{}xf32>", shape.experts)), ids(fmt::format("tensor<?x{}xi32>", shape.topK)),
        chosen(fmt::format("tensor<?x{}xf32>", shape.topK)),
        buffer(fmt::format("tensor<{}x?x{}x{}>", shape.experts, shape.hidden, dtype)), out(std::back_inserter(text)) {}

  void write() {
    line("  func.func @layer_{0}(%hidden: {1}) -> {1} attributes {{moe.layer = {0} : i64}} {{\n", layer, tokens);
    weights();
    std::string routing = router();
    line("    %counts = moe.count_pairs %ids : ({}) -> tensor<{}xi32>\n", ids, shape.experts);
    dispatch(routing);
    experts();
    if (shape.sharedIntermediate)
      shared();
    combine(routing);
    line("    return %out : {}\n  }}\n", tokens);
  }

private:
  template <typename... Args> void line(fmt::format_string<Args...> format, Args &&...args) {
    out = fmt::format_to(out, format, std::forward<Args>(args)...);
  }

  void weight(const char *value, const std::string &name, const std::string &type, bool e4m3 = false) {
    line("    %{} = moe.weight \"{}.layers.{}.{}.{}\"{} : {}\n", value, spec.names.model, layer, spec.names.block, name,
         e4m3 ? " {block_e4m3}" : "", type);
  }

  void weights() {
    const WeightNames &names = spec.names;
    weight("router", fmt::format("{}.weight", names.router), routerType());
    if (spec.router.routerBias)
      weight("router_bias", fmt::format("{}.bias", names.router), routerBiasType());
    if (spec.router.correctionBias)
      weight("correction", "gate.e_score_correction_bias", correctionType());
    const bool e4m3 = isIn(spec.e4m3Experts);
    weight("gate", fmt::format("experts.{{e}}.{}.weight", names.gate), gateType(), e4m3);
    weight("up", fmt::format("experts.{{e}}.{}.weight", names.up), gateType(), e4m3);
    weight("down", fmt::format("experts.{{e}}.{}.weight", names.down), downType(), e4m3);
    if (shape.expertBias) {
      weight("gate_bias", fmt::format("experts.{{e}}.{}.bias", names.gate), gateBiasType());
      weight("up_bias", fmt::format("experts.{{e}}.{}.bias", names.up), gateBiasType());
      weight("down_bias", fmt::format("experts.{{e}}.{}.bias", names.down), downBiasType());
    }
    if (shape.sharedIntermediate)
      sharedWeights();
  }

  void sharedWeights() {
    const WeightNames &names = spec.names;
    const bool e4m3 = isIn(spec.e4m3Shared);
    weight("shared_gate", fmt::format("{}.{}.weight", names.shared, names.gate), sharedGateType(), e4m3);
    weight("shared_up", fmt::format("{}.{}.weight", names.shared, names.up), sharedGateType(), e4m3);
    weight("shared_down", fmt::format("{}.{}.weight", names.shared, names.down), sharedDownType(), e4m3);
    if (shape.sharedGate)
      weight("shared_router", fmt::format("{}.weight", names.sharedRouter), sharedRouterType());
  }

  bool isIn(const std::vector<uint32_t> &layers) const {
    return std::binary_search(layers.begin(), layers.end(), layer);
  }

  /// From the hidden states to `%ids`; returns the value that holds the weights of the chosen.
  std::string router() {
    const bool biased = spec.router.routerBias;
    line("    %logits = moe.router %hidden, %router{} : ({}, {}{}) -> {}\n", biased ? " bias %router_bias" : "", tokens,
         routerType(), biased ? ", " + routerBiasType() : std::string(), scores);
    const char *ranked = "logits";
    if (spec.router.before != Scoring::None) {
      line("    %scores = moe.score {} %logits : {}\n", scoringName(spec.router.before), scores);
      ranked = "scores";
    }
    topK(ranked);
    return routingWeights();
  }

  void topK(const char *ranked) {
    const RouterSpec &router = spec.router;
    line("    %ids, %chosen = moe.top_k %{}{} {{k = {} : i64", ranked,
         router.correctionBias ? " correction %correction" : "", shape.topK);
    if (router.groups > 1)
      line(", groups = {} : i64, groups_picked = {} : i64, group_top = {} : i64", router.groups, router.groupsPicked,
           router.groupTop);
    line("}} : ({}{}) -> ({}, {})\n", scores, router.correctionBias ? ", " + correctionType() : std::string(), ids,
         chosen);
  }

  std::string routingWeights() {
    const RouterSpec &router = spec.router;
    std::string last = "chosen";
    if (router.after != Scoring::None) {
      line("    %scored = moe.score {} %{} : {}\n", scoringName(router.after), last, chosen);
      last = "scored";
    }
    if (router.renormalise) {
      line("    %normalized = moe.normalize %{} {{epsilon = {} : f64}} : {}\n", last, floatLiteral(router.epsilon),
           chosen);
      last = "normalized";
    }
    if (router.scale != 1.0) {
      line("    %scaled = moe.scale %{} by {} : {}\n", last, floatLiteral(router.scale), chosen);
      last = "scaled";
    }
    return last;
  }

  void dispatch(const std::string &routing) {
    const bool weighted = shape.weightOnInput;
    line("    %buffer, %slot = moe.dispatch %hidden, %ids{} : ({}, {}{}) -> ({}, {})\n",
         weighted ? fmt::format(" weights %{} {{weight_on_input}}", routing) : std::string(), tokens, ids,
         weighted ? ", " + chosen : std::string(), buffer, ids);
  }

  void experts() {
    const std::string biases = shape.expertBias ? fmt::format(", {0}, {0}, {1}", gateBiasType(), downBiasType()) : "";
    line("    %expert = moe.expert_ffn %buffer, %gate, %up, %down{3}\n"
         "        : ({0}, {1}, {1}, {2}{4}) -> {0} activation {{\n{5}    }}\n",
         buffer, gateType(), downType(), shape.expertBias ? " bias %gate_bias, %up_bias, %down_bias" : "", biases,
         activation());
  }

  void shared() {
    line("    %shared = moe.shared_ffn %hidden, %shared_gate, %shared_up, %shared_down{0}\n"
         "        : ({1}, {2}, {2}, {3}{4}) -> {1} activation {{\n{5}    }}\n",
         shape.sharedGate ? " router %shared_router" : "", tokens, sharedGateType(), sharedDownType(),
         shape.sharedGate ? ", " + sharedRouterType() : std::string(), activation());
  }

  void combine(const std::string &routing) {
    const bool init = shape.sharedIntermediate != 0, weighted = !shape.weightOnInput;
    line("    %out = moe.combine %expert, %ids, %slot{}{}\n"
         "        : ({}, {}, {}{}{}) -> {}\n",
         weighted ? ", %" + routing : std::string(), init ? " init %shared" : "", buffer, ids, ids,
         weighted ? ", " + chosen : std::string(), init ? ", " + tokens : std::string(), tokens);
  }

  static const char *scoringName(Scoring scoring) { return scoring == Scoring::Softmax ? "softmax" : "sigmoid"; }

  std::string activation() const { return activationBlock(spec.activation, spec.clamped); }

  std::string routerType() const { return matrix(shape.experts, shape.hidden); }
  std::string routerBiasType() const { return fmt::format("tensor<{}x{}>", shape.experts, dtype); }
  // Checkpoints keep this one in f32 whatever the model's dtype is: it is added to sigmoids close
  // to each other.
  std::string correctionType() const { return fmt::format("tensor<{}xf32>", shape.experts); }
  std::string gateType() const { return cube(shape.intermediate, shape.hidden); }
  std::string downType() const { return cube(shape.hidden, shape.intermediate); }
  std::string gateBiasType() const { return matrix(shape.experts, shape.intermediate); }
  std::string downBiasType() const { return matrix(shape.experts, shape.hidden); }
  std::string sharedGateType() const { return matrix(shape.sharedIntermediate, shape.hidden); }
  std::string sharedDownType() const { return matrix(shape.hidden, shape.sharedIntermediate); }
  std::string sharedRouterType() const { return matrix(1, shape.hidden); }
  std::string matrix(uint32_t rows, uint32_t columns) const {
    return fmt::format("tensor<{}x{}x{}>", rows, columns, dtype);
  }
  std::string cube(uint32_t rows, uint32_t columns) const {
    return fmt::format("tensor<{}x{}x{}x{}>", shape.experts, rows, columns, dtype);
  }

  const ModelSpec &spec;
  const LayerShape &shape;
  const uint32_t layer;
  const char *const dtype;
  const std::string tokens, scores, ids, chosen, buffer; // types
  std::back_insert_iterator<std::string> out;
};

} // namespace

std::string modelText(const ModelSpec &spec, std::string_view name) {
  std::string text = fmt::format("module attributes {{moe.family = \"{}\", moe.model = \"{}\"}} {{\n", spec.family,
                                 escapedString(name));
  for (uint32_t layer : spec.layers)
    LayerWriter(spec, layer, text).write();
  return text + "}\n";
}

std::string escapedString(std::string_view text) {
  std::string escaped;
  for (unsigned char byte : text) {
    bool plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
    escaped += plain ? std::string(1, static_cast<char>(byte)) : fmt::format("\\{:02X}", byte);
  }
  return escaped;
}

std::string floatLiteral(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find('.') == std::string::npos)
    text.insert(std::min(text.find('e'), text.size()), ".0");
  return text;
}

} // namespace moec::importer
