// What the C API's handles are.
#pragma once

#include "compiler/core/ThreadSafety.h"
#include "runtime/Session.h"
#include "runtime/c/moec.h"
#include "runtime/recompile/Recompiler.h"
#include "runtime/trace/LineWriter.h"

#include <memory>
#include <string>

struct MoecModel {
  std::shared_ptr<const moec::Model> model;
};

namespace moec::c {

/// The loop of a session and where its trace goes.
struct Loop {
  std::string tracePath;
  std::unique_ptr<LineWriter> trace; // outlives the recompiler
  std::unique_ptr<Recompiler> recompiler;
};

} // namespace moec::c

struct MoecSession {
  explicit MoecSession(moec::Session opened, uint32_t planned) : session(std::move(opened)), plannedTokens(planned) {}

  moec::Session session;
  const uint32_t plannedTokens;
  mutable moec::Mutex loopMutex; // held while the loop starts, stops or is asked
  std::unique_ptr<moec::c::Loop> loop MOEC_GUARDED_BY(loopMutex);
};
