#include "runtime/Step.h"

#include "runtime/c/Boundary.h"
#include "runtime/c/Handles.h"

#include <new>

using namespace moec;

namespace {

/// What lies in a caller's MoecStep.
struct StepStorage {
  uint64_t began; // 1: `bytes` is a Step; 0: it has ended
  alignas(Step) unsigned char bytes[sizeof(Step)];

  Step &step() { return *std::launder(reinterpret_cast<Step *>(bytes)); }
};
static_assert(sizeof(StepStorage) <= sizeof(MoecStep) && alignof(StepStorage) <= alignof(MoecStep));

StepStorage &storageOf(MoecStep *step) { return *reinterpret_cast<StepStorage *>(step->opaque); }

Result<ConstTensorView> viewOf(const MoecTensor &tensor, const char *name) {
  Result<DType> dtype = c::readEnum(tensor.dtype, DType::F16, name);
  if (!dtype)
    return dtype.status();
  if (tensor.reserved != 0)
    return makeError(Code::InvalidArgument, "{}: reserved is not 0", name);
  return ConstTensorView{tensor.data, *dtype, tensor.rows, tensor.columns};
}

Status begin(MoecSession &session, const MoecStepOptions *given, MoecStep *step) {
  storageOf(step).began = 0;
  Result<MoecStepOptions> options = c::readOptions(given, "MoecStepOptions");
  if (!options)
    return options.status();
  StepOptions begin;
  begin.tokens = options->tokens;
  begin.phase = options->prefill ? Phase::Prefill : Phase::Decode;
  if (options->onGeneration)
    begin.generation = options->generation;
  begin.stream = options->stream;
  Result<Step> begun = session.session.begin(begin);
  if (!begun)
    return begun.status();
  new (storageOf(step).bytes) Step(std::move(*begun));
  storageOf(step).began = 1;
  return {};
}

Result<Step *> begunStep(MoecStep *step) {
  if (storageOf(step).began != 1)
    return makeError(Code::InvalidArgument, "the step has not begun, or has ended");
  return &storageOf(step).step();
}

Status forward(MoecStep *given, uint32_t layer, const MoecTensor &hidden, const int32_t *ids, const float *weights,
               const MoecTensor &output) {
  Result<Step *> step = begunStep(given);
  if (!step)
    return step.status();
  Result<ConstTensorView> from = viewOf(hidden, "hidden.dtype");
  if (!from)
    return from.status();
  Result<ConstTensorView> to = viewOf(output, "output.dtype");
  if (!to)
    return to.status();
  if (hidden.data == output.data && output.rows > 0)
    return makeError(Code::InvalidArgument, "hidden and output are the same memory");
  if (!ids != !weights)
    return makeError(Code::InvalidArgument, "ids and weights come together, or are both null");
  const TensorView written{output.data, to->dtype, to->rows, to->columns};
  return ids ? (*step)->layer(layer).forward(*from, ids, weights, written)
             : (*step)->layer(layer).forward(*from, written);
}

Status route(MoecStep *given, uint32_t layer, const MoecTensor &hidden, int32_t *ids, float *weights) {
  Result<Step *> step = begunStep(given);
  if (!step)
    return step.status();
  Result<ConstTensorView> from = viewOf(hidden, "hidden.dtype");
  return from ? (*step)->layer(layer).route(*from, ids, weights) : from.status();
}

} // namespace

MoecCode moec_step_begin(MoecSession *session, const MoecStepOptions *options, MoecStep *step) {
  return c::guarded([&] { return begin(*session, options, step); });
}

MoecCode moec_step_forward(MoecStep *step, uint32_t layer, const MoecTensor *hidden, const int32_t *ids,
                           const float *weights, const MoecTensor *output) {
  return c::guarded([&] { return forward(step, layer, *hidden, ids, weights, *output); });
}

MoecCode moec_step_route(MoecStep *step, uint32_t layer, const MoecTensor *hidden, int32_t *ids, float *weights) {
  return c::guarded([&] { return route(step, layer, *hidden, ids, weights); });
}

uint64_t moec_step_generation(const MoecStep *step) {
  StepStorage &storage = storageOf(const_cast<MoecStep *>(step)); // only read
  return storage.began == 1 ? storage.step().generation() : 0;
}

void moec_step_end(MoecStep *step) {
  StepStorage &storage = storageOf(step);
  if (storage.began != 1)
    return;
  storage.began = 0;
  storage.step().~Step();
}
