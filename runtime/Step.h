// One step: a pinned generation, and the layers' forwards on it.
#pragma once

#include "runtime/Observation.h"
#include "runtime/ProfileRange.h"
#include "runtime/Tensor.h"

#include "compiler/core/Status.h"

#include <cstdint>
#include <utility>

namespace moec {

class SessionState;
struct DeviceLayer;
struct Generation;
class Step;

/// One layer of a step; as short-lived as the expression that asked for it.
class StepLayer {
public:
  /// Runs router and experts. On a CPU returns when `output` is written; on a GPU the step's stream is queued with it.
  ///
  /// hidden  [T, H], in the layer's dtype
  /// output  as `hidden`; the two must not overlap
  ///
  /// Never waits for a compile, compiles or allocates.
  ///
  /// Errors: NotFound (no such layer), InvalidArgument (shape or dtype differ; nothing was written), Failure
  /// (non-finite router logits under NonFinitePolicy::Fail).
  Status forward(ConstTensorView hidden, TensorView output);

  /// The same with the caller's routing instead of the router's.
  ///
  /// ids      [T, K]; -1 is padding: that pair adds nothing. No token names an expert twice
  /// weights  [T, K]
  ///
  /// Errors: also InvalidArgument (on a CPU: an id out of range or twice; a GPU, which has the ids, takes the first as
  /// padding and adds the second twice; both must stay as they are until the step is done there).
  Status forward(ConstTensorView hidden, const int32_t *ids, const float *weights, TensorView output);

  /// Runs the router and the choice of experts alone: what the first `forward` would do first. To look at routing, to
  /// change it and hand it to the other `forward`, or to time it.
  ///
  /// ids, weights  [T, K], written; best expert first
  ///
  /// Errors: NotFound, InvalidArgument (shape or dtype, a layer without a router, a device that routes
  /// only within a forward), Failure (as `forward`).
  Status route(ConstTensorView hidden, int32_t *ids, float *weights);

private:
  friend class Step;
  StepLayer(Step &step, uint32_t number, const DeviceLayer *layer) : step(step), number(number), layer(layer) {}
  Status run(ConstTensorView hidden, const RoutingView *routing, TensorView output);

  Step &step;
  uint32_t number;
  const DeviceLayer *layer;
};

/// Ends when it is destroyed. Steps may run concurrently; one Step is used by one thread at a time.
class Step {
public:
  Step(Step &&other) noexcept
      : session(std::exchange(other.session, nullptr)), pinned(other.pinned), slot(other.slot), tokens(other.tokens),
        phase(other.phase), span(std::move(other.span)) {}
  Step &operator=(Step &&) = delete;
  ~Step();

  StepLayer layer(uint32_t number);
  /// The number of the generation that this step runs on, to its end.
  uint64_t generation() const;

private:
  friend class Session;
  friend class StepLayer;
  Step(SessionState *session, const Generation *pinned, uint32_t slot, uint32_t tokens, Phase phase)
      : session(session), pinned(pinned), slot(slot), tokens(tokens), phase(phase), span("step", tokens) {}

  SessionState *session;
  const Generation *pinned;
  uint32_t slot;
  uint32_t tokens;
  Phase phase;
  ProfileSpan span;
};

} // namespace moec
