// What the C API's handles are.
#pragma once

#include "compiler/core/ThreadSafety.h"
#include "runtime/Session.h"
#include "runtime/c/moec.h"
#include "runtime/recompile/Recompiler.h"
#include "runtime/trace/LineWriter.h"

#include <memory>

struct MoecModel {
  std::shared_ptr<const moec::Model> model;
  bool cacheOnly = false;
};

struct MoecSession;

namespace moec::c {

/// The loop of a session and where its trace goes.
struct Loop {
  std::unique_ptr<LineWriter> trace; // outlives the recompiler
  std::unique_ptr<Recompiler> recompiler;
};

/// moec_loop_stop without its report.
Status stopLoop(MoecSession &session);

} // namespace moec::c

struct MoecSession {
  MoecSession(moec::Session opened, uint32_t planned, moec::Mode mode)
      : session(std::move(opened)), plannedTokens(planned), mode(mode) {}

  moec::Session session;
  const uint32_t plannedTokens;
  const moec::Mode mode;
  mutable moec::Mutex loopMutex; // held while the loop starts, stops or is asked
  std::unique_ptr<moec::c::Loop> loop MOEC_GUARDED_BY(loopMutex);
};
