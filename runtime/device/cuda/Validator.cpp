#include "runtime/device/cuda/Validator.h"

#include "compiler/core/CudaTiles.h"
#include "compiler/core/JoinedShared.h"
#include "runtime/device/Noise.h"
#include "runtime/weights/Convert.h"

#include <algorithm>
#include <cstring>

namespace moec {
namespace {

/// Tokens go to the plan's first expert as long as they fill its tiles, then to padding, and each to topK - 1 others
/// that differ from token to token. (An expert's tiles share its rows equally: 256 would make two of 128 for a tile of
/// 192, whose wider half would not run.)
void routeTokens(const CudaLayer &layer, uint32_t tokens, int32_t *ids, float *weights) {
  const uint32_t experts = layer.shape.experts, topK = layer.shape.topK;
  const uint32_t hot = layer.plan.table.order.front(), tile = layer.plan.config.cuda.gateUp.tokens;
  const uint32_t filled = tokens < tile ? tokens : tokens / tile * tile;
  for (uint32_t t = 0; t < tokens; ++t)
    for (uint32_t k = 0; k < topK; ++k) {
      // Neighbours of a start that walks over all other experts: distinct within a token.
      const uint32_t other = k == 0 ? 0 : 1 + (t * 7 + k - 1) % std::max(experts - 1, 1u);
      ids[t * topK + k] = k == 0 && t >= filled ? -1 : static_cast<int32_t>((hot + other) % experts);
      weights[t * topK + k] = 0.5f + 0.25f * noise(t * topK + k);
    }
}

} // namespace

Result<std::unique_ptr<CudaValidator>> CudaValidator::make(std::shared_ptr<const CudaDriver> driver,
                                                           const DeviceMemory &memory,
                                                           const std::vector<const LayerDescription *> &layers,
                                                           uint32_t tokens, const CudaLaunchSite &site) {
  std::unique_ptr<CudaValidator> validator(new CudaValidator(driver, site));
  validator->tokens = tokens;
  std::vector<LayerShape> shapes;
  uint64_t rowBytes = 0, topK = 0;
  for (const LayerDescription *layer : layers) {
    shapes.push_back(layer->shape);
    rowBytes = std::max(rowBytes, uint64_t{layer->shape.hidden} * byteSize(layer->shape.dtype));
    topK = std::max<uint64_t>(topK, layer->shape.topK);
  }
  Result<CudaStream> stream = makeStream(driver);
  Result<CudaEvent> done = makeEvent(driver, false);
  MOEC_TRY(stream.status());
  MOEC_TRY(done.status());
  Result<CudaWorkspace> space =
      CudaWorkspace::make(*driver, memory, CudaWorkspaceNeeds::of(shapes, tokens, site.tensorMaps), stream->get());
  MOEC_TRY(space.status());
  validator->stream = std::move(*stream);
  validator->done = std::move(*done);
  validator->space = std::move(*space);
  validator->site.stream = validator->stream.get();
  for (auto [buffer, bytes] :
       {std::pair{&validator->hidden, tokens * rowBytes}, std::pair{&validator->output, tokens * rowBytes},
        std::pair{&validator->ids, tokens * topK * 4}, std::pair{&validator->weights, tokens * topK * 4}}) {
    Result<DeviceBuffer> made = memory.allocate(bytes, "validation");
    MOEC_TRY(made.status());
    *buffer = std::move(*made);
  }
  for (auto [buffer, bytes] :
       {std::pair{&validator->stage, tokens * (rowBytes + topK * 8)},
        std::pair{&validator->expected, tokens * rowBytes}, std::pair{&validator->found, tokens * rowBytes}}) {
    Result<PinnedBuffer> made = PinnedBuffer::allocate(driver, bytes, "validation");
    MOEC_TRY(made.status());
    *buffer = std::move(*made);
  }
  return validator;
}

Status CudaValidator::upload(const CudaLayer &candidate) {
  const LayerShape &shape = candidate.shape;
  const uint64_t hiddenBytes = uint64_t{tokens} * shape.hidden * byteSize(shape.dtype);
  const uint64_t pairBytes = uint64_t{tokens} * shape.topK * 4;
  const std::vector<std::byte> rows = noiseRows(tokens, shape.hidden, shape.dtype);
  std::memcpy(stage.data(), rows.data(), hiddenBytes);
  std::byte *pairIds = stage.data() + hiddenBytes, *pairWeights = pairIds + pairBytes;
  routeTokens(candidate, tokens, reinterpret_cast<int32_t *>(pairIds), reinterpret_cast<float *>(pairWeights));
  for (auto [to, from, bytes] : {std::tuple{&hidden, stage.data(), hiddenBytes}, std::tuple{&ids, pairIds, pairBytes},
                                 std::tuple{&weights, pairWeights, pairBytes}})
    MOEC_CUDA(*driver, cuMemcpyHtoDAsync, (to->address(), from, bytes, stream.get()), "input of a validation");
  return {};
}

std::vector<CudaValidator::Pass> CudaValidator::passesOf(const CudaLayer &layer) const {
  const LayerShape &shape = layer.shape;
  const CudaConfig &config = layer.kernels->config;
  std::vector<Pass> passes = {{.tokens = tokens, .dispatches = true}};
  if (!layer.kernels->router.empty())
    passes.push_back({.tokens = tokens, .ownRouter = true});
  const uint32_t found = std::min(tokens, kBlockRows / rowsPerToken(shape)), few = kFewPairs / shape.topK;
  if (few < found && hasNoDispatch(shape, found, config.gateUp, config.down))
    passes.push_back({.tokens = found});
  if (few < tokens)
    passes.push_back({.tokens = few});
  for (uint32_t count = std::min(few, tokens); count-- > 1;) // whose rings differ
    if (FewForms::of(shape, count, config.gateUp, config.down).any())
      passes.push_back({.tokens = count});
  return passes;
}

Status CudaValidator::run(const CudaLayer &layer, const Pass &pass, std::byte *result) {
  const RoutingView routing{ids.as<int32_t>(), weights.as<float>()};
  const uint64_t bytes = uint64_t{pass.tokens} * layer.shape.hidden * byteSize(layer.shape.dtype);
  // Poisoned, so that what is not written shows: all ones is a NaN in every dtype.
  MOEC_CUDA(*driver, cuMemsetD8Async, (output.address(), 0xff, bytes, stream.get()), "output of a validation");
  CudaForward forward(layer, space, site);
  forward.alwaysDispatch(pass.dispatches);
  MOEC_TRY(forward.run(hidden.as<void>(), pass.tokens, pass.ownRouter ? nullptr : &routing, {}, output.as<void>()));
  MOEC_CUDA(*driver, cuMemcpyDtoHAsync, (result, output.address(), bytes, stream.get()), "output of a validation");
  return {};
}

Result<double> CudaValidator::validate(const CudaLayer &candidate, const CudaLayer &reference) {
  MOEC_TRY(upload(candidate));
  for (const Pass &pass : passesOf(candidate)) {
    const uint64_t bytes = uint64_t{pass.tokens} * candidate.shape.hidden * byteSize(candidate.shape.dtype);
    MOEC_TRY(run(reference, pass, expected.data()));
    MOEC_TRY(run(candidate, pass, found.data()));
    MOEC_CUDA(*driver, cuEventRecord, (done.get(), stream.get()), "behind a validation");
    MOEC_TRY(waitFor(*driver, done.get()));
    if (std::all_of(expected.data(), expected.data() + candidate.shape.hidden,
                    [](std::byte b) { return b == std::byte{0xff}; }))
      return makeError(Code::VerificationMismatch, "layer {}: generation 0 writes nothing", candidate.number);
    if (std::memcmp(expected.data(), found.data(), bytes) != 0)
      return makeError(Code::VerificationMismatch, "layer {}: {} differs from generation 0 by {:.3g} (relative L2)",
                       candidate.number, candidate.plan.config.text(),
                       relativeDistance(found.data(), expected.data(), bytes, candidate.shape.dtype));
  }
  return 0.0;
}

} // namespace moec
