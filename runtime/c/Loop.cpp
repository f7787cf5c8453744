#include "runtime/Version.h"
#include "runtime/c/Boundary.h"
#include "runtime/c/Handles.h"
#include "runtime/trace/DecisionTrace.h"

#include <chrono>

using namespace moec;

namespace {

Result<std::unique_ptr<LineWriter>> openTrace(const std::string &path, const PolicySetup &setup) {
  LineWriterOptions writer;
  writer.path = path;
  const auto run = std::chrono::system_clock::now().time_since_epoch().count(); // names this run
  return openDecisionTrace(writer, {.buildId = versionText(), .run = static_cast<uint64_t>(run)}, setup);
}

Result<std::unique_ptr<c::Loop>> makeLoop(MoecSession &session, const MoecLoopOptions &options) {
  RecompilerOptions watch;
  const bool manual = options.manual || session.mode == Mode::Manual;
  watch.mode = session.mode == Mode::Strict ? LoopMode::Strict : manual ? LoopMode::Manual : LoopMode::Auto;
  watch.layers = session.session.layers();
  watch.profile.defaultTokens = session.plannedTokens;
  watch.liveGeneration = session.session.liveGeneration();
  if (options.windowSteps)
    watch.windowSteps = options.windowSteps;
  auto loop = std::make_unique<c::Loop>();
  if (const std::string path = c::text(options.trace); !path.empty()) {
    Result<std::unique_ptr<LineWriter>> trace = openTrace(path, Recompiler::setupOf(session.session.host(), watch));
    if (!trace)
      return trace.status();
    loop->trace = std::move(*trace);
  }
  loop->recompiler = std::make_unique<Recompiler>(session.session.host(), watch, loop->trace.get());
  return loop;
}

Status start(MoecSession &session, const MoecLoopOptions *given) {
  Result<MoecLoopOptions> options = c::readOptions(given, "MoecLoopOptions");
  if (!options)
    return options.status();
  if (session.mode == Mode::Off)
    return makeError(Code::InvalidArgument, "the session was opened to stay on generation 0 (MOEC_OFF)");
  Lock lock(session.loopMutex);
  if (session.loop)
    return makeError(Code::InvalidArgument, "the session has a loop already");
  Result<std::unique_ptr<c::Loop>> loop = makeLoop(session, *options);
  if (!loop)
    return loop.status();
  if (Status status = (*loop)->recompiler->start(); !status.ok())
    return status;
  session.session.setObserver((*loop)->recompiler->monitor().observer());
  session.loop = std::move(*loop);
  return {};
}

Status noLoop() { return Status(Code::NotFound, "the session has no loop"); }

Status request(MoecSession &session) {
  Lock lock(session.loopMutex);
  if (!session.loop)
    return noLoop();
  session.loop->recompiler->request();
  return {};
}

Status readStats(const MoecSession &session, MoecLoopStats *stats) {
  Lock lock(session.loopMutex);
  if (!session.loop)
    return noLoop();
  const RecompilerStats now = session.loop->recompiler->stats();
  MoecLoopStats all = {};
  all.samples = now.samples;
  all.skippedSamples = now.skippedSamples;
  all.windows = now.windows;
  all.decisions = now.decisions;
  all.changes = now.changes;
  all.kept = now.kept;
  all.rolledBack = now.rolledBack;
  all.failedBuilds = now.failedBuilds;
  all.droppedTraceLines = now.droppedTraceLines;
  all.liveGeneration = now.liveGeneration;
  all.pendingAgeNs = now.pendingAgeNs;
  return c::writeStruct(all, stats, "MoecLoopStats");
}

} // namespace

Status moec::c::stopLoop(MoecSession &session) {
  Lock lock(session.loopMutex);
  if (!session.loop)
    return noLoop();
  session.session.setObserver({}); // before the loop goes
  const std::unique_ptr<c::Loop> loop = std::move(session.loop);
  loop->recompiler->stop();
  return loop->trace ? loop->trace->checkWhole() : Status();
}

MoecCode moec_loop_start(MoecSession *session, const MoecLoopOptions *options) {
  return c::guarded([&] { return start(*session, options); });
}
MoecCode moec_loop_request(MoecSession *session) {
  return c::guarded([&] { return request(*session); });
}
MoecCode moec_loop_stats(const MoecSession *session, MoecLoopStats *stats) {
  return c::guarded([&] { return readStats(*session, stats); });
}
MoecCode moec_loop_stop(MoecSession *session) {
  return c::guarded([&] { return c::stopLoop(*session); });
}
