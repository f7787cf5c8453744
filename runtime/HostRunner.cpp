#include "runtime/HostRunner.h"

#include "runtime/SessionState.h"

namespace moec {

Result<HostRunner> HostRunner::make(Session &session) {
  Result<std::unique_ptr<HostBridge>> bridge = session.bridge();
  if (!bridge)
    return bridge.status();
  return HostRunner(session, std::move(*bridge));
}

Status HostRunner::forward(uint32_t layer, Phase phase, ConstTensorView hidden, const RoutingView *routing,
                           TensorView output) {
  const auto bytesOf = [](const ConstTensorView &tensor) {
    return static_cast<uint64_t>(tensor.rows * tensor.columns) * byteSize(tensor.dtype);
  };
  enum Memory : unsigned { Hidden, Output, Ids, Weights };
  const auto put = [&](Memory which, const void *from, uint64_t bytes, auto &to, bool copy) -> Status {
    Result<void *> placed = bridge->onDevice(which, const_cast<void *>(from), bytes, copy);
    if (placed)
      to = static_cast<std::remove_reference_t<decltype(to)>>(*placed);
    return placed.status();
  };
  ConstTensorView in = hidden;
  TensorView out = output;
  if (Status status = put(Hidden, hidden.data, bytesOf(hidden), in.data, true); !status.ok())
    return status;
  if (Status status = put(Output, output.data, bytesOf(output), out.data, false); !status.ok())
    return status;
  RoutingView routed;
  if (routing) {
    const uint64_t bytes = static_cast<uint64_t>(hidden.rows) * session->topK(layer) * sizeof(int32_t);
    if (Status status = put(Ids, routing->ids, bytes, routed.ids, true); !status.ok())
      return status;
    if (Status status = put(Weights, routing->weights, bytes, routed.weights, true); !status.ok())
      return status;
  }
  {
    Result<Step> step =
        session->begin({.tokens = static_cast<uint32_t>(hidden.rows), .phase = phase, .stream = bridge->stream()});
    if (!step)
      return step.status();
    Status status =
        routing ? step->layer(layer).forward(in, routed.ids, routed.weights, out) : step->layer(layer).forward(in, out);
    if (!status.ok())
      return status;
  }
  return bridge->toHost(Output, output.data, bytesOf(output));
}

} // namespace moec
