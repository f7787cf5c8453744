#include "runtime/Session.h"

#include "runtime/HostRunner.h"
#include "runtime/SessionState.h"

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
  Result<GenerationSet::Pin> pin = state->pinFor(step);
  if (!pin)
    return pin.status();
  if (Status status = state->device->begin(pin->slot, step.stream); !status.ok()) {
    state->generations->unpin(pin->slot);
    return status;
  }
  return Step(state.get(), pin->generation, pin->slot, step.tokens, step.phase);
}

Result<GenerationSet::Pin> SessionState::pinFor(const StepOptions &step) {
  const bool captured = device->captures(step.stream);
  const uint32_t most = captured ? options.maxGraphTokens : options.maxTokens;
  if (step.tokens > most)
    return makeError(Code::ResourceExhausted, "a {}step of {} tokens, the session is for {}",
                     captured ? "captured " : "", step.tokens, most);
  if (captured && options.maxGraphs == 0)
    return makeError(Code::ResourceExhausted,
                     "the session was opened without maxGraphs: no step of it can be captured");
  const uint32_t begin = captured ? options.maxSteps : 0, end = captured ? begin + options.maxGraphs : options.maxSteps;
  return step.generation ? generations->pinNumber(*step.generation, begin, end) : generations->pin(begin, end);
}

GenerationHost &Session::host() { return *state; }
const std::vector<uint32_t> &Session::layers() const { return state->layerNumbers; }
uint64_t Session::liveGeneration() const { return state->generations->liveNumber(); }
PlanLimits Session::limits(uint32_t layer) const { return state->limits(layer); }
uint32_t Session::topK(uint32_t layer) const { return state->layerShape(layer).topK; }
Result<std::unique_ptr<HostBridge>> Session::bridge() { return state->device->bridge(); }
void Session::finish() { state->device->finish(); }
const BuildReport &Session::opened() const { return state->openReport; }
void Session::setObserver(StepObserver observer) {
  state->device->withoutReports([&] { state->log.setObserver(std::move(observer)); });
}

std::optional<uint64_t> Session::alternateGeneration() const { return state->generations->alternateNumber(); }
SessionStats Session::stats() const { return state->log.stats(); }

} // namespace moec
