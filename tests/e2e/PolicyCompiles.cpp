// The loop of itself, with the real compiler: a layer whose weights stay in the cache is planned for 14 rows an expert
// and gets 5; new tables cannot help, so the policy must compile, validate and swap, measure, keep or roll back as
// measured, and no bit of an output may change at any time. Which of both it is depends on the machine and on what else
// it does (5 rows instead of 14 are worth a few percent), so it is no matter of this test: tests/unit/recompile holds
// the loop to it with step times that it knows.
//
//   policy-compiles MODEL_FOLDER
#include "runtime/Session.h"
#include "runtime/device/cpu/MachineFacts.h"
#include "runtime/recompile/Recompiler.h"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

using namespace moec;

namespace {

int fail(const std::string &why) {
  std::fprintf(stderr, "policy-compiles: %s\n", why.c_str());
  return 1;
}

/// Every expert gets as many pairs as every other.
struct EvenRouting {
  EvenRouting(uint32_t tokens, const LayerShape &shape) : weights(tokens * shape.topK, 0.5f) {
    for (uint32_t pair = 0; pair < tokens * shape.topK; ++pair)
      ids.push_back(static_cast<int32_t>(pair % shape.experts));
  }
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

/// What the loop decided and built. Read when the loop has stopped.
struct Log {
  std::optional<DecisionRecord> change;
  std::optional<BuildReport> built;
  std::optional<SwapEvent> swap;
  std::optional<Measured> measured;
  std::optional<JudgementRecord> judgement;
  std::string last;

  void operator()(const TraceEvent &event) {
    if (auto *decision = std::get_if<DecisionRecord>(&event)) {
      last = decision->text;
      if (isChange(decision->verdict) && !change)
        change = *decision;
    }
    if (auto *outcome = std::get_if<BuildOutcome>(&event)) {
      last = outcome->message;
      if (outcome->code == Code::Ok)
        built = outcome->report;
    }
    first(event, swap);
    first(event, measured);
    first(event, judgement);
  }

private:
  template <typename Event> static void first(const TraceEvent &event, std::optional<Event> &into) {
    if (auto *found = std::get_if<Event>(&event); found && !into)
      into = *found;
  }
};

/// Empty where what the loop did with its change follows from what it measured.
std::string contradiction(const Log &log, const PolicyConfig &policy, uint64_t live) {
  if (!log.swap || !log.measured || !log.judgement)
    return "the change was not swapped in, measured and judged";
  const JudgementRecord &judgement = *log.judgement;
  if (log.measured->pairs < 12 ||
      !(log.measured->low <= log.measured->ratio && log.measured->ratio <= log.measured->high))
    return "too few pairs of steps, or a median outside its interval: " + judgement.text;
  const bool paid = judgement.measuredGain > policy.keepMedian && judgement.measuredLow > policy.keepAbove;
  if (judgement.kept != paid)
    return "kept and measured disagree: " + judgement.text;
  if (live != (judgement.kept ? log.swap->generation : log.swap->from))
    return "another generation is live than the judgement says: " + judgement.text;
  return {};
}

Result<Session> openSession(const char *folder) {
  Result<std::shared_ptr<const Model>> model = Model::load(folder, {});
  if (!model)
    return model.status();
  SessionOptions options;
  options.weights = "random:seed=1";
  options.maxTokens = options.plannedTokens = 56;
  options.limits.maxTileHeights = 3;
  const TargetFacts facts = thisMachine();
  Calibration cached = Calibration::assumed(facts, DType::F32);
  cached.streamNsPerByte = 0; // the layer's 12 MiB are read from a cache
  options.calibration = cached;
  return Session::open(*model, options);
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  Result<Session> session = openSession(argv[1]);
  if (!session)
    return fail(session.status().message());
  const uint32_t layer = session->layers().front(), tokens = 20;
  const LayerShape shape = session->host().layerShape(layer);

  Log log;
  RecompilerOptions watch;
  watch.layers = {layer};
  watch.profile.defaultTokens = 56;
  watch.idlePatienceNs = 0; // other tests may fill the machine
  watch.listener = [&](const TraceEvent &event) { log(event); };
  Recompiler loop(session->host(), watch);
  session->setObserver(loop.monitor().observer());
  if (Status status = loop.start(); !status.ok())
    return fail(status.message());

  const EvenRouting routing(tokens, shape);
  std::vector<float> hidden(tokens * shape.hidden), output(hidden.size()), first;
  for (size_t index = 0; index < hidden.size(); ++index)
    hidden[index] = static_cast<float>(index % 251) / 125.0f - 1.0f;
  const auto start = std::chrono::steady_clock::now();
  // Some steps more than until the judgement: what it leaves live serves them.
  for (int after = 0; after < 32 && std::chrono::steady_clock::now() - start < std::chrono::seconds(60);
       after += loop.stats().kept + loop.stats().rolledBack > 0) {
    Result<Step> step = session->begin({.tokens = tokens});
    if (!step)
      return fail(step.status().message());
    Status status =
        step->layer(layer).forward({hidden.data(), shape.dtype, tokens, shape.hidden}, routing.ids.data(),
                                   routing.weights.data(), {output.data(), shape.dtype, tokens, shape.hidden});
    if (!status.ok())
      return fail(status.message());
    if (first.empty())
      first = output;
    if (std::memcmp(first.data(), output.data(), output.size() * sizeof(float)) != 0)
      return fail("an output changed");
  }
  const RecompilerStats stats = loop.stats();
  session->setObserver(nullptr);
  loop.stop();

  if (!log.change || !log.built)
    return fail("no change in time; last: " + log.last);
  if (log.change->verdict != Verdict::Compile || log.built->kernelsBuilt == 0)
    return fail("the policy did not compile: " + log.change->text);
  bool heights = false;
  for (const Cause &cause : log.change->causes)
    heights |= cause.name == "tile-heights" && cause.gainNs > 0;
  if (!heights)
    return fail("tile heights are not the cause");
  if (std::string why = contradiction(log, watch.policy, stats.liveGeneration); !why.empty())
    return fail(why);
  std::printf("compiled %u kernels in %.0f ms for %s; %s: %s\n", log.built->kernelsBuilt, log.built->compileMs,
              log.change->toConfig.c_str(), log.judgement->text.c_str(), log.judgement->kept ? "kept" : "rolled back");
  return 0;
}
