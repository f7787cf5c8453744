// `moec run`: one layer on given hidden states.
#include "tools/moec/HiddenStates.h"
#include "tools/moec/Setup.h"
#include "tools/moec/Verbs.h"

#include "compiler/core/CudaTiles.h"
#include "runtime/HostRunner.h"
#include "runtime/recompile/Text.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace moec::tool {
namespace {

constexpr const char *footer = R"(Example:
  moec run tests/golden/mixtral --layer 0 --input tests/golden/mixtral/input.safetensors --output y.safetensors
Reads tensor hidden_states [T, H] (F32, BF16 or F16), converts it to the layer's dtype, runs router and experts, and writes
tensor output [T, H] in the input's dtype. One cold run: its time is no measurement, moec bench makes those.)";

struct RunOptions {
  std::string model, weights, input, output, target = "cpu", format = "text";
  uint32_t layer = 0, threads = 0;
  bool routing = false, strict = false, plainWeights = false;
  CacheOptions cache;
};

/// What the observer saw of the one forward.
struct Seen {
  std::vector<uint32_t> pairs;
  uint64_t layerNs = 0, spilledPairs = 0;
};

Result<Session> openSession(const RunOptions &options, const Tool &tool, std::shared_ptr<const Model> model,
                            uint32_t tokens, std::shared_ptr<Seen> seen) {
  SessionOptions session;
  session.device = options.target;
  session.maxTokens = session.plannedTokens = tokens;
  session.maxSteps = 1;
  session.threads = options.threads ? options.threads : tool.environment.threads;
  session.mode = options.strict ? Mode::Strict : Mode::Off;
  session.weights = options.weights;
  session.layers = {options.layer};
  // Plans change no bit of a result, so one step is not worth measuring the machine for.
  session.calibrationSource = CalibrationSource::Assumed;
  session.observer = [seen = std::move(seen)](const LayerObservation &layer) {
    *seen = {{layer.pairs.begin(), layer.pairs.end()}, layer.layerNs, layer.spilledPairs};
  };
  return Session::open(std::move(model), std::move(session));
}

Status checkWidth(const RunOptions &options, const HiddenStates &states, const LayerDescription &layer) {
  constexpr int64_t maxTokens = 1 << 20;
  if (states.hidden != layer.shape.hidden)
    return makeError(Code::InvalidArgument, "{}: hidden_states are {} wide, layer {} takes {}", options.input,
                     states.hidden, layer.layer, layer.shape.hidden);
  if (states.tokens > maxTokens)
    return makeError(Code::InvalidArgument, "{}: {} tokens, at most {} are run at once", options.input, states.tokens,
                     maxTokens);
  return {};
}

void noteInexact(const char *what, const Converted &converted, DType from) {
  if (converted.inexact)
    note(fmt::format("run: {} of {} elements of the {} were rounded from {} to {}", converted.inexact,
                     converted.states.elements(), what, dtypeName(from), dtypeName(converted.states.dtype)));
}

/// `computed`: the layer's dtype; `e4m3`: the routed experts are multiplied in that.
Status report(const RunOptions &options, const HiddenStates &result, DType computed, bool e4m3, const Session &session,
              const Seen &seen) {
  if (options.format == "json") {
    nlohmann::json json = {{"schema", "moec.run"},
                           {"schema_version", 1},
                           {"output", options.output},
                           {"layer", options.layer},
                           {"tokens", result.tokens},
                           {"hidden", result.hidden},
                           {"dtype", dtypeName(computed)},
                           {"expert_dtype", e4m3 ? "e4m3" : dtypeName(computed)},
                           {"output_dtype", dtypeName(result.dtype)},
                           {"kernels_built", session.opened().kernelsBuilt},
                           {"non_finite_logits", session.stats().nonFiniteLogits},
                           {"spilled_pairs", seen.spilledPairs},
                           {"layer_us", static_cast<double>(seen.layerNs) / 1000}};
    if (options.routing)
      json["pairs"] = seen.pairs;
    return printResult(jsonText(json));
  }
  if (const uint64_t bad = session.stats().nonFiniteLogits)
    fmt::print(stderr, "moec run: warning: {} of the router's logits are not finite\n", bad);
  std::string text =
      fmt::format("{}: output [{}, {}] {}, layer {} computed in {}{}, {}\n", options.output, result.tokens,
                  result.hidden, dtypeName(result.dtype), options.layer, dtypeName(computed),
                  e4m3 ? ", experts in e4m3" : "", textOfNs(static_cast<double>(seen.layerNs)));
  if (options.routing)
    for (size_t expert = 0; expert < seen.pairs.size(); ++expert)
      text += fmt::format("expert {:>4} {:>8} pairs\n", expert, seen.pairs[expert]);
  return printResult(text);
}

Status runRun(const RunOptions &options, const Tool &tool) {
  if (options.output == "-") // as other verbs would take it
    return makeError(Code::InvalidArgument, "--output -: stdout has the report, so name a file for the output");
  Result<HiddenStates> input = readHiddenStates(options.input);
  if (!input)
    return input.status();
  Result<std::shared_ptr<Compiler>> compiler = makeCompiler(options.cache, tool.environment);
  if (!compiler)
    return compiler.status();
  const CompilePolicy policy = options.strict ? CompilePolicy::CacheOnly : CompilePolicy::Allowed;
  Result<std::shared_ptr<const Model>> model =
      Model::load(options.model, {.compiler = *compiler, .policy = policy, .plainWeights = options.plainWeights});
  if (!model)
    return model.status();
  const LayerDescription *layer = (*model)->find(options.layer);
  if (!layer)
    return makeError(Code::InvalidArgument, "the model has no MoE layer {}", options.layer);
  if (Status status = checkWidth(options, *input, *layer); !status.ok())
    return status;
  const DType computed = layer->shape.dtype;
  Converted hidden = convertStates(*input, computed);
  noteInexact("input", hidden, input->dtype);

  auto seen = std::make_shared<Seen>();
  const auto tokens = static_cast<uint32_t>(input->tokens);
  Result<Session> session = openSession(options, tool, *model, tokens, seen);
  if (!session)
    return session.status();
  HiddenStates output = hidden.states;
  Result<HostRunner> runner = HostRunner::make(*session);
  if (!runner)
    return runner.status();
  const ConstTensorView from{hidden.states.bytes.data(), computed, input->tokens, input->hidden};
  const TensorView to{output.bytes.data(), computed, input->tokens, input->hidden};
  if (Status status = runner->forward(options.layer, Phase::Prefill, from, nullptr, to); !status.ok())
    return status.withContext("layer {}", options.layer);
  session->finish(); // what the observer has to see
  Converted written = convertStates(output, input->dtype);
  noteInexact("output", written, computed);
  if (Status status = writeStates(options.output, written.states); !status.ok())
    return status;
  return report(options, written.states, computed, multipliesE4M3(layer->shape, session->host().facts()), *session,
                *seen);
}

} // namespace

void addRun(CLI::App &app, Tool &tool) {
  auto options = std::make_shared<RunOptions>();
  CLI::App *verb = addVerb(app, tool, {"run", "Run one layer on given hidden states", footer},
                           [options, &tool] { return runRun(*options, tool); });
  verb->add_option("model", options->model, "Hugging Face folder, config.json, .mlir or package")->required();
  verb->add_option("--layer", options->layer, "by the model's number")->required();
  verb->add_option("--input", options->input, ".safetensors file with hidden_states [T, H]")->required();
  verb->add_option("--output", options->output, ".safetensors file to write")->required();
  verb->add_option("--weights", options->weights,
                   "checkpoint folder or file, or random:seed=N; default: the model's folder");
  addPlainWeights(verb, options->plainWeights);
  verb->add_option("--target,--device", options->target, "cpu, cpu-avx2, cpu-avx512, cpu-avx512bf16, cuda or cuda:N")
      ->capture_default_str();
  verb->add_option("--threads", options->threads, "0: all processors")->check(CLI::Range(0u, 1024u));
  verb->add_flag("--routing", options->routing, "also print the pairs of each expert");
  verb->add_flag("--strict", options->strict,
                 "never compile: what the cache or the package lacks is an error (exit 9)");
  addCacheOptions(verb, options->cache);
  addFormat(verb, options->format);
}

} // namespace moec::tool
