#include "runtime/Session.h"

#include "runtime/SessionState.h"

#include <chrono>

namespace moec {

Session::Session(std::unique_ptr<SessionState> state) : state(std::move(state)) {}
Session::Session(Session &&) noexcept = default;
Session &Session::operator=(Session &&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::open(std::shared_ptr<const Model> model, SessionOptions options) {
  if (!model)
    return makeError(Code::InvalidArgument, "a session needs a model");
  auto state = std::make_unique<SessionState>(std::move(model), std::move(options));
  if (Status status = state->open(); !status.ok())
    return status;
  return Session(std::move(state));
}

Result<Step> Session::begin(StepOptions step) {
  if (step.tokens > state->options.maxTokens)
    return makeError(Code::ResourceExhausted, "a step of {} tokens, the session is for {}", step.tokens,
                     state->options.maxTokens);
  Result<GenerationSet::Pin> pin = state->generations->pin();
  if (!pin)
    return pin.status();
  return Step(state.get(), pin->generation, pin->slot, step.tokens, step.phase);
}

GenerationHost &Session::host() { return *state; }
const std::vector<uint32_t> &Session::layers() const { return state->layerNumbers; }
uint64_t Session::liveGeneration() const { return state->generations->liveNumber(); }
PlanLimits Session::limits(uint32_t layer) const { return state->limitsOf(layer); }
const BuildReport &Session::opened() const { return state->openReport; }
void Session::setObserver(StepObserver observer) { state->options.observer = std::move(observer); }

SessionStats Session::stats() const {
  auto get = [](const std::atomic<uint64_t> &counter) { return counter.load(std::memory_order_relaxed); };
  const auto &counters = state->counters;
  return {get(counters.forwards), get(counters.forwardNs), get(counters.monitorNs), get(counters.spilledPairs),
          get(counters.nonFiniteLogits)};
}

Status SessionState::forward(const CpuLayer &layer, uint32_t slot, uint64_t generation, Phase phase,
                             ConstTensorView hidden, const RoutingView *routing, TensorView output) {
  using Clock = std::chrono::steady_clock;
  auto nanoseconds = [](Clock::duration time) {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
  };
  Workspace &space = workspaces[slot];
  ForwardCounts counts;
  std::optional<RoutingView> view;
  if (routing)
    view = *routing;
  const auto start = Clock::now();
  Status status = LayerExecutor(layer, space, *pool, workerScratch.ofWorker)
                      .run(hidden, view, output, options.nonFinite, counts);
  const auto end = Clock::now();
  counters.nonFiniteLogits.fetch_add(counts.nonFiniteLogits, std::memory_order_relaxed);
  if (!status.ok())
    return status;
  const uint64_t ns = nanoseconds(end - start);
  counters.forwards.fetch_add(1, std::memory_order_relaxed);
  counters.forwardNs.fetch_add(ns, std::memory_order_relaxed);
  counters.spilledPairs.fetch_add(counts.spilledPairs, std::memory_order_relaxed);
  if (options.observer) {
    options.observer({layer.number, static_cast<uint32_t>(hidden.rows), phase,
                      std::span<const uint32_t>(space.pairs, layer.shape.experts), ns, counts.spilledPairs,
                      generation});
    counters.monitorNs.fetch_add(nanoseconds(Clock::now() - end), std::memory_order_relaxed);
  }
  return {};
}

} // namespace moec
