#include "runtime/recompile/Recompiler.h"

#include "runtime/recompile/IdleScope.h"

#include <chrono>
#include <future>
#include <set>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace moec {

namespace {

int64_t steadyNs() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

std::vector<Monitor::LayerSpec> specsOf(const GenerationHost &host, const RecompilerOptions &options) {
  std::vector<Monitor::LayerSpec> specs;
  for (uint32_t layer : options.layers)
    specs.push_back({layer, host.layerShape(layer).experts});
  return specs;
}

/// What was measured stands in for what is assumed.
void takeMeasuredCosts(const BuildCosts &costs, PolicyConfig &config) {
  for (auto [measured, assumed] : {std::pair{costs.compileMs, &config.firstCost.compileMs},
                                   {costs.loadMs, &config.firstCost.loadMs},
                                   {costs.validateMs, &config.firstCost.validateMs},
                                   {costs.packNsPerByte, &config.firstPackNsPerByte}})
    if (measured > 0)
      *assumed = measured;
}

} // namespace

PolicySetup Recompiler::setupOf(const GenerationHost &host, const RecompilerOptions &options) {
  PolicySetup setup;
  setup.mode = options.mode;
  setup.config = options.policy;
  setup.facts = host.facts();
  setup.calibration = host.calibration();
  setup.liveGeneration = options.liveGeneration;
  setup.knownConfigs = options.knownConfigs;
  for (uint32_t number : options.layers) {
    LayerSetup layer;
    layer.layer = number;
    layer.shape = host.layerShape(number);
    layer.generic = host.genericConfig(number);
    layer.live = host.livePlan(number);
    layer.limits = host.limits(number);
    layer.plannedFor = options.profile.of(number, layer.shape.topK, layer.shape.experts);
    setup.layers.push_back(std::move(layer));
  }
  takeMeasuredCosts(host.costs(), setup.config);
  return setup;
}

Recompiler::Recompiler(GenerationHost &host, RecompilerOptions given, LineSink *traceSink, LineSink *routingSink)
    : host(host), options(std::move(given)), clock(options.clock ? options.clock : steadyNs), startNs(clock()),
      steps(specsOf(host, options), options.monitorSlots), policy(setupOf(host, options), recorded(options.hooks)),
      windows(options.windowSteps, options.windowAgeNs), trace(traceSink), routing(routingSink),
      traceRouting(routingSink != nullptr), live(options.liveGeneration) {
  liveNow = live;
}

Recompiler::~Recompiler() { stop(); }

/// Hooks that note their answers, so that a replay needs no user code.
PolicyHooks Recompiler::recorded(PolicyHooks hooks) {
  PolicyHooks noting;
  if (hooks.trigger)
    noting.trigger = [this, ask = std::move(hooks.trigger)](const LayerStatistics &seen) MOEC_REQUIRES(loop) {
      HookEvent event;
      event.layer = seen.layer;
      event.isTrigger = true;
      event.fired = ask(seen);
      answers.push_back(event);
      return event.fired;
    };
  if (hooks.policy)
    noting.policy = [this, ask = std::move(hooks.policy)](const DecisionRecord &proposed) MOEC_REQUIRES(loop) {
      HookEvent event;
      event.layer = proposed.statistics.layer;
      event.verdict = ask(proposed);
      answers.push_back(event);
      return event.verdict;
    };
  return noting;
}

//===-- The thread ----------------------------------------------------------------------------===//

Status Recompiler::start() {
  if (thread.joinable())
    return {};
  stopping = false;
  try {
    thread = std::thread([this] { run(); });
  } catch (const std::system_error &error) {
    return makeError(Code::ResourceExhausted, "cannot start the recompilation thread: {}", error.what());
  }
  return {};
}

void Recompiler::run() {
  // Threads that a compile starts inherit this, so that steps keep their cores.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), options.niceness);
  while (!stopping) {
    pump();
    wakeMutex.lock();
    if (!stopping && !requested)
      wake.wait_for(wakeMutex, std::chrono::nanoseconds(options.periodNs));
    wakeMutex.unlock();
  }
}

void Recompiler::stop() {
  {
    Lock lock(wakeMutex);
    stopping = true;
  }
  wake.notify_all();
  if (thread.joinable())
    thread.join();
  Lock lock(loop);
  if (ended)
    return;
  ended = true;
  if (measurement)
    if (Status status = host.alternate(measurement->incumbentGeneration(), measurement->challengerGeneration(), false);
        !status.ok())
      emit(ErrorEvent{now(), "alternate", status.message()});
  measurement.reset();
  pendingSince = 0;
  emit(EndEvent{now(), samples, steps.skipped(), trace.droppedLines()});
}

void Recompiler::request() {
  {
    Lock lock(wakeMutex);
    requested = true;
  }
  wake.notify_all();
}

RecompilerStats Recompiler::stats() const {
  RecompilerStats stats;
  stats.samples = samples;
  stats.skippedSamples = steps.skipped();
  stats.windows = windowCount;
  stats.decisions = decisions;
  stats.changes = changes;
  stats.kept = kept;
  stats.rolledBack = rolledBack;
  stats.failedBuilds = failedBuilds;
  stats.droppedTraceLines = droppedLines;
  stats.liveGeneration = liveNow;
  if (int64_t since = pendingSince)
    stats.pendingAgeNs = clock() - since;
  return stats;
}

//===-- One round -----------------------------------------------------------------------------===//

void Recompiler::emit(const TraceEvent &event) {
  trace.write(event);
  droppedLines = trace.droppedLines();
  if (options.listener)
    options.listener(event);
}

void Recompiler::pump() {
  Lock lock(loop);
  if (ended)
    return;
  drain();
  bool asked = requested.exchange(false);
  if (options.mode == LoopMode::Off)
    return;
  uint64_t before = windowCount;
  observe();
  if (measurement && (measurement->done() || now() >= measureUntilNs))
    finishMeasurement();
  if (!retryRollback() && (windowCount != before || asked))
    decide(asked);
}

void Recompiler::drain() {
  int64_t nowNs = now();
  samples += steps.drain([&](const LayerObservation &sample) MOEC_REQUIRES(loop) {
    if (options.mode != LoopMode::Off)
      windows.add(sample, nowNs);
    if (traceRouting)
      routing.write(sample);
    if (measurement)
      measurement->add(sample);
  });
}

void Recompiler::observe() {
  for (Window &window : windows.take(now())) {
    policy.observe(window);
    emit(CountsEvent{now(), std::move(window)});
    ++windowCount;
  }
}

void Recompiler::decide(bool asked) {
  answers.clear();
  TickEvent event{now(), asked};
  Policy::Tick tick = policy.decide(event.nowNs, asked);
  for (const HookEvent &answer : answers)
    emit(answer);
  emit(event);
  for (const PredictionRecord &record : tick.predictions)
    emit(record);
  bool changing = false;
  for (const DecisionRecord &record : tick.decisions) {
    emit(record);
    changing |= isChange(record.verdict);
  }
  decisions += tick.decisions.size();
  if (changing)
    change();
}

void Recompiler::failed(Code code, const std::string &message) {
  BuildOutcome outcome;
  outcome.nowNs = now();
  outcome.code = code;
  outcome.message = message;
  emit(outcome);
  policy.built(outcome);
  ++failedBuilds;
  pendingSince = 0;
}

Result<BuildReport> Recompiler::build() {
  std::map<uint32_t, LayerPlan> plans;
  std::map<uint32_t, Histogram> plannedFor;
  for (const auto &[layer, planned] : policy.inFlight()) {
    plans.emplace(layer, planned.plan);
    plannedFor.emplace(layer, planned.plannedFor);
  }
  const int64_t deadline = clock() + options.buildDeadlineNs;
  const int64_t patienceNs = host.facts().device == DeviceKind::Cpu ? options.idlePatienceNs : 0;
  const auto buildHere = [&] {
    IdleScope idle(patienceNs);
    return host.build(plans, plannedFor, [this, deadline] { return stopping || clock() > deadline; });
  };
  std::future<Result<BuildReport>> report; // joins when it goes, whatever a listener throws
  try {
    report = std::async(std::launch::async, buildHere);
  } catch (const std::system_error &) { // no thread: steps go uncounted meanwhile
    return buildHere();
  }
  // A build may take seconds, and rings hold a few dozen steps.
  while (report.wait_for(std::chrono::nanoseconds(options.periodNs)) != std::future_status::ready) {
    drain();
    observe();
  }
  return report.get();
}

void Recompiler::change() {
  pendingSince = clock();
  int64_t since = now();
  Result<BuildReport> report = build();
  if (!report) {
    bool late = report.status().code() == Code::Cancelled && now() - since > options.buildDeadlineNs;
    failed(report.status().code(),
           late ? fmt::format("cancelled after {:.1f} s: {}", static_cast<double>(now() - since) * 1e-9,
                              report.status().message())
                : report.status().message());
    return;
  }
  BuildOutcome outcome;
  outcome.nowNs = now();
  outcome.report = *report;
  emit(outcome);
  policy.built(outcome);
  swap(report->generation);
}

void Recompiler::swap(uint64_t generation) {
  if (Status status = host.publish(generation); !status.ok()) {
    host.retire(generation);
    return failed(status.code(), "not published: " + status.message());
  }
  uint64_t incumbent = live;
  live = generation;
  liveNow = generation;
  ++changes;
  SwapEvent event{now(), generation, incumbent};
  emit(event);
  policy.swapped(event.nowNs);
  std::set<uint32_t> layers;
  std::map<uint32_t, LayerPlan> before;
  for (const auto &[layer, planned] : policy.inFlight()) {
    layers.insert(layer);
    before.emplace(layer, planned.before);
  }
  measurement.emplace(incumbent, generation, std::move(layers), options.measurePairs,
                      [this, before = std::move(before)](uint32_t layer, const Histogram &step)
                          MOEC_REQUIRES(loop) { return policy.predict(layer, before.at(layer), step); });
  measureUntilNs = now() + options.measureDeadlineNs;
  if (Status status = host.alternate(incumbent, generation, true); !status.ok()) {
    emit(ErrorEvent{now(), "alternate", status.message()});
    measureUntilNs = now(); // nothing will be measured
  }
}

//===-- Whether it paid -----------------------------------------------------------------------===//

void Recompiler::finishMeasurement() {
  uint64_t incumbent = measurement->incumbentGeneration(), challenger = measurement->challengerGeneration();
  if (Status status = host.alternate(incumbent, challenger, false); !status.ok())
    emit(ErrorEvent{now(), "alternate", status.message()});
  Measured measured = measurement->result(now());
  measurement.reset();
  emit(measured);
  JudgementRecord judgement = policy.judge(measured);
  emit(judgement);
  pendingSince = 0;
  if (!judgement.kept)
    return rollBack(challenger, incumbent);
  ++kept;
  // Generation 0 stays: it computes spills and is what validation compares with.
  if (incumbent != 0)
    host.retire(incumbent);
}

void Recompiler::rollBack(uint64_t generation, uint64_t to) {
  if (Status status = host.publish(to); !status.ok()) {
    // The policy already takes `to` for live, so nothing is decided until it is.
    if (!rollback)
      emit(ErrorEvent{now(), "rollback", status.message()});
    rollback = Rollback{generation, to};
    return;
  }
  rollback.reset();
  live = to;
  liveNow = to;
  ++rolledBack;
  emit(RollbackEvent{now(), generation, to});
  host.retire(generation);
}

bool Recompiler::retryRollback() {
  if (rollback)
    rollBack(rollback->generation, rollback->to);
  return rollback.has_value();
}

} // namespace moec
