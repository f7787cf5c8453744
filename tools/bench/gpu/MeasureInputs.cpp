#include "tools/bench/gpu/MeasureInputs.h"

#include "compiler/kernels/Fp8Abi.h"

#include <algorithm>

namespace moec::bench {

Status fillWith(Device &device, const Buffer &buffer, const void *block, size_t bytes) {
  const size_t first = std::min(bytes, buffer.bytes());
  MOEC_TRY(device.upload(buffer, block, first));
  for (size_t done = first; done < buffer.bytes(); done *= 2)
    MOEC_TRY(device.copy(buffer.address() + done, buffer.address(), std::min(done, buffer.bytes() - done)));
  return device.synchronise();
}

Status fillWith(Device &device, const Buffer &buffer, InputTensor tensor) {
  const std::vector<uint16_t> block = inputBlock(tensor);
  return fillWith(device, buffer, block.data(), block.size() * 2);
}

Result<double> copyRate(Device &device, const Buffer &buffer) {
  const size_t half = buffer.bytes() / 2 / 4096 * 4096;
  const auto copy = [&] { return device.copy(buffer.address() + half, buffer.address(), half); };
  MOEC_TRY(copy());
  Result<std::vector<double>> times = device.time(7, copy);
  MOEC_TRY(times.status());
  return 2.0 * static_cast<double>(half) / (median(*times) * 1e-6);
}

Result<Problem> makeProblem(Device &device, const ModelShape &model, uint32_t tokens, double skew,
                            const MeasureOptions &options) {
  Problem p{.model = model,
            .shape = {tokens, model.hidden, model.intermediate, model.experts, model.topK},
            .skew = skew,
            .routings = numRoutings(tokens),
            .expertsHit = 0,
            .ids = {},
            .weights = {}};
  const Routings routings = drawRoutings(model, tokens, skew);
  p.expertsHit = routings.expertsHit;
  if (!options.inputFolder.empty())
    MOEC_TRY(writeRoutings(options.inputFolder, model, tokens, skew, routings));
  Result<Buffer> idsOn = device.uploaded(routings.ids), weightsOn = device.uploaded(routings.weights);
  MOEC_TRY(idsOn.status());
  MOEC_TRY(weightsOn.status());
  p.ids = std::move(*idsOn);
  p.weights = std::move(*weightsOn);
  return p;
}

double floorMicroseconds(const Problem &p, double bytesPerSecond, double flops) {
  const auto [T, H, I, E, K] = p.shape;
  const double compute = 6.0 * T * K * H * I / flops;
  const double memory = (p.expertsHit * 6.0 * H * I + 4.0 * T * H) / bytesPerSecond;
  return std::max(compute, memory) * 1e6;
}

double fp8FloorMicroseconds(const Problem &p, double bytesPerSecond, double flops) {
  const auto [T, H, I, E, K] = p.shape;
  const double compute = 3.0 * T * K * H * I / flops;
  const double weights = p.expertsHit * 3.0 * H * I * (1 + 4.0 / (kFp8Block * kFp8Block));
  return std::max(compute, (weights + 4.0 * T * H) / bytesPerSecond) * 1e6;
}

std::string measuredLine(const Problem &p, const std::string &kernels, double microseconds, double floor) {
  const auto [T, H, I, E, K] = p.shape;
  return fmt::format("{{\"shape\":\"{}\",\"tokens\":{},\"skew\":{},\"experts_hit\":{},\"kernels\":\"{}\",\"us\":{},"
                     "\"tflops\":{},\"floor_us\":{}}}\n",
                     p.model.name, T, p.skew, p.expertsHit, kernels, microseconds,
                     6.0 * T * K * H * I / microseconds * 1e-6, floor);
}

} // namespace moec::bench
