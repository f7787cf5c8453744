#include "runtime/Session.h"

#include "runtime/c/Boundary.h"
#include "runtime/c/Handles.h"

using namespace moec;

namespace {

/// What is not zero replaces the default.
void set(uint32_t &option, uint32_t given) { option = given ? given : option; }

Result<SessionOptions> sessionOptions(const MoecSessionOptions &given) {
  SessionOptions options;
  set(options.maxTokens, given.maxTokens);
  set(options.maxSteps, given.maxSteps);
  set(options.threads, given.threads);
  set(options.plannedTokens, given.plannedTokens);
  set(options.maxGraphs, given.maxGraphs);
  set(options.maxGraphTokens, given.maxGraphTokens);
  Result<Mode> mode = c::readEnum(given.mode, Mode::Deterministic, "mode");
  if (!mode)
    return mode.status();
  Result<CalibrationSource> calibration = c::readEnum(given.calibration, CalibrationSource::Measure, "calibration");
  if (!calibration)
    return calibration.status();
  options.mode = *mode;
  options.calibrationSource = *calibration;
  options.nonFinite = given.failOnNonFinite ? NonFinitePolicy::Fail : NonFinitePolicy::Mask;
  if (given.numLayers > 0 && !given.layers)
    return makeError(Code::InvalidArgument, "numLayers is {}, but layers is null", given.numLayers);
  options.layers.assign(given.layers, given.layers + given.numLayers);
  if (given.device)
    options.device = given.device;
  options.weights = c::text(given.weights);
  if (given.packBudget) {
    Result<PackBudget> budget = PackBudget::parse(given.packBudget);
    if (!budget)
      return budget.status();
    options.packBudget = *budget;
  }
  return options;
}

Status openSession(const MoecModel &model, const MoecSessionOptions *given, MoecSession **session) {
  Result<MoecSessionOptions> read = c::readOptions(given, "MoecSessionOptions");
  if (!read)
    return read.status();
  Result<SessionOptions> options = sessionOptions(*read);
  if (!options)
    return options.status();
  if (model.cacheOnly && options->mode == Mode::Auto)
    options->mode = Mode::Strict;
  Result<Session> opened = Session::open(model.model, *options);
  if (!opened)
    return opened.status();
  *session = new MoecSession(std::move(*opened), options->plannedTokens, options->mode);
  return {};
}

Status layerAt(MoecSession &session, uint32_t index, MoecLayer *layer) {
  const std::vector<uint32_t> &layers = session.session.layers();
  if (index >= layers.size())
    return makeError(Code::NotFound, "layer index {}: the session has {} layers", index, layers.size());
  const LayerShape shape = session.session.host().layerShape(layers[index]);
  MoecLayer all = {};
  all.number = layers[index];
  all.hidden = shape.hidden;
  all.intermediate = shape.intermediate;
  all.experts = shape.experts;
  all.topK = shape.topK;
  all.dtype = static_cast<int32_t>(shape.dtype);
  return c::writeStruct(all, layer, "MoecLayer");
}

} // namespace

MoecCode moec_session_open(MoecModel *model, const MoecSessionOptions *options, MoecSession **session) {
  return c::guarded([&] { return openSession(*model, options, session); });
}

void moec_session_close(MoecSession *session) {
  try {
    if (session)
      (void)c::stopLoop(*session).ok(); // before what it watches goes; moec_last_error stays what it was
  } catch (const std::exception &) {    // out of memory for a message about the trace
  }
  delete session;
}

uint32_t moec_session_num_layers(const MoecSession *session) {
  return static_cast<uint32_t>(session->session.layers().size());
}

MoecCode moec_session_layer(MoecSession *session, uint32_t index, MoecLayer *layer) {
  return c::guarded([&] { return layerAt(*session, index, layer); });
}

MoecCode moec_session_stats(const MoecSession *session, MoecSessionStats *stats) {
  const SessionStats now = session->session.stats();
  MoecSessionStats all = {};
  all.liveGeneration = session->session.liveGeneration();
  const std::optional<uint64_t> alternate = session->session.alternateGeneration();
  all.alternateGeneration = alternate ? static_cast<int64_t>(*alternate) : -1;
  all.forwards = now.forwards;
  all.timedForwards = now.timedForwards;
  all.forwardNs = now.forwardNs;
  all.monitorNs = now.monitorNs;
  all.spilledPairs = now.spilledPairs;
  all.nonFiniteLogits = now.nonFiniteLogits;
  all.lostSamples = now.lostSamples;
  return c::guarded([&] { return c::writeStruct(all, stats, "MoecSessionStats"); });
}

void moec_session_finish(MoecSession *session) { session->session.finish(); }
