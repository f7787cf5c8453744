#include "runtime/Step.h"

#include "runtime/SessionState.h"

namespace moec {
namespace {

Status checkTensor(const char *name, ConstTensorView tensor, const DeviceLayer &layer, uint32_t tokens) {
  if (tensor.rows == tokens && tensor.columns == layer.shape.hidden && tensor.dtype == layer.shape.dtype &&
      (tensor.data || tokens == 0))
    return {};
  return makeError(Code::InvalidArgument, "layer {}: {} is {} [{}, {}]{}, expected {} [{}, {}]", layer.number, name,
                   dtypeName(tensor.dtype), tensor.rows, tensor.columns, tensor.data ? "" : " without data",
                   dtypeName(layer.shape.dtype), tokens, layer.shape.hidden);
}

} // namespace

Step::~Step() {
  if (!session)
    return;
  if (session->device->end(slot))
    session->generations->unpin(slot);
}

StepLayer Step::layer(uint32_t number) { return {*this, number, pinned->find(number)}; }

uint64_t Step::generation() const { return pinned->number; }

Status StepLayer::run(ConstTensorView hidden, const RoutingView *routing, TensorView output) {
  const ProfileRange range("layer", number);
  if (!layer)
    return makeError(Code::NotFound, "the session has no layer {}", number);
  for (auto [name, tensor] : {std::pair{"hidden", hidden}, std::pair{"output", ConstTensorView(output)}})
    if (Status status = checkTensor(name, tensor, *layer, step.tokens); !status.ok())
      return status;
  if (step.tokens == 0)
    return {};
  if (routing && (!routing->ids || !routing->weights))
    return makeError(Code::InvalidArgument, "layer {}: routing without ids or weights", number);
  return step.session->device->forward({*layer, step.slot, step.pinned->number, step.phase, hidden, routing, output});
}

Status StepLayer::route(ConstTensorView hidden, int32_t *ids, float *weights) {
  if (!layer)
    return makeError(Code::NotFound, "the session has no layer {}", number);
  if (Status status = checkTensor("hidden", hidden, *layer, step.tokens); !status.ok())
    return status;
  if (!ids || !weights)
    return makeError(Code::InvalidArgument, "layer {}: nowhere to write ids or weights", number);
  return step.tokens == 0 ? Status() : step.session->device->route({*layer, step.slot, hidden, ids, weights});
}

Status StepLayer::forward(ConstTensorView hidden, TensorView output) { return run(hidden, nullptr, output); }

Status StepLayer::forward(ConstTensorView hidden, const int32_t *ids, const float *weights, TensorView output) {
  const RoutingView routing{ids, weights};
  return run(hidden, &routing, output);
}

} // namespace moec
