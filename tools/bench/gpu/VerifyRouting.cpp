#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Verify.h"

#include <cmath>
#include <limits>
#include <random>

namespace moec::bench {
namespace {

/// Random logits with some tokens that have NaN and Inf, few finite ones or none, or whose scores all underflow.
std::vector<float> drawLogits(const RouteConfig &c, uint32_t tokens, std::mt19937_64 &random, uint32_t &numNonFinite) {
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(size_t{tokens} * c.experts);
  for (float &logit : logits)
    logit = normal(random);
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  for (uint32_t token = 3; token < tokens; token += 7) {
    const uint32_t kind = token % 5;
    for (uint32_t e = 0; e < c.experts; ++e)
      if (kind == 4)
        logits[size_t{token} * c.experts + e] = -2000.0f - static_cast<float>(e);
      else if (kind == 0 || (kind == 1 && e != 5) || (kind > 1 && random() % 3 == 0))
        logits[size_t{token} * c.experts + e] = bad[random() % 3];
  }
  numNonFinite = 0;
  for (float logit : logits)
    numNonFinite += !std::isfinite(logit);
  return logits;
}

Status verifyRouter(Device &device, Bundle &bundle, const RouteConfig &c, std::string &report) {
  std::mt19937_64 random(c.experts * 31 + c.topK);
  const uint32_t tokens = 203;
  uint32_t numNonFinite = 0;
  const std::vector<float> logits = drawLogits(c, tokens, random, numNonFinite);
  std::vector<float> correction(c.experts);
  std::normal_distribution<float> normal(0, 0.1f);
  for (float &bias : correction)
    bias = normal(random);
  const double epsilon = c.renormalise ? 1e-20 : 0, scale = 2.5;

  Result<Kernel> kernel = bundle.kernel(shippedRoute(c).name, 0);
  if (!kernel)
    return kernel.status();
  Result<Buffer> logitsOn = device.uploaded(logits), correctionOn = device.uploaded(correction);
  Result<Buffer> idsOn = device.allocate(size_t{tokens} * c.topK * 4),
                 weightsOn = device.allocate(size_t{tokens} * c.topK * 4);
  Result<Buffer> countOn = device.uploaded(std::vector<uint32_t>{0});
  for (const Status &status :
       {logitsOn.status(), correctionOn.status(), idsOn.status(), weightsOn.status(), countOn.status()})
    MOEC_TRY(status);
  MOEC_TRY(device.fill(*idsOn, 0x7f));
  MOEC_TRY(device.fill(*weightsOn, 0xff));
  RouteArgs args{.logits = logitsOn->as<float>(),
                 .correctionBias = c.correctionBias ? correctionOn->as<float>() : nullptr,
                 .ids = idsOn->as<int32_t>(),
                 .weights = weightsOn->as<float>(),
                 .numNonFinite = countOn->as<uint32_t>(),
                 .numTokens = tokens,
                 .logitStride = c.experts,
                 .epsilon = static_cast<float>(epsilon),
                 .scale = static_cast<float>(scale)};
  void *parameters[] = {&args};
  MOEC_TRY(device.launch(*kernel, {routeBlocks(c, tokens), c.threads}, parameters));
  Result<std::vector<int32_t>> ids = device.downloaded<int32_t>(*idsOn, size_t{tokens} * c.topK);
  Result<std::vector<float>> weights = device.downloaded<float>(*weightsOn, size_t{tokens} * c.topK);
  Result<std::vector<uint32_t>> counted = device.downloaded<uint32_t>(*countOn, 1);
  for (const Status &status : {ids.status(), weights.status(), counted.status()})
    MOEC_TRY(status);

  uint32_t close = 0;
  double worst = 0;
  for (uint32_t token = 0; token < tokens; ++token) {
    const ReferenceRoute expected =
        referenceRoute(c, &logits[size_t{token} * c.experts], correction.data(), epsilon, scale);
    if (expected.margin < 1e-6) {
      ++close;
      continue;
    }
    for (uint32_t k = 0; k < c.topK; ++k) {
      const size_t at = size_t{token} * c.topK + k;
      if ((*ids)[at] != expected.ids[k])
        return makeError(Code::VerificationMismatch, "token {} choice {}: expert {}, expected {}", token, k, (*ids)[at],
                         expected.ids[k]);
      const double error = std::abs((*weights)[at] - expected.weights[k]);
      if (!(error <= 2e-5 * std::max(1e-3, std::abs(expected.weights[k]))))
        return makeError(Code::VerificationMismatch, "token {} choice {}: weight {}, expected {}", token, k,
                         (*weights)[at], expected.weights[k]);
      worst = std::max(worst, error);
    }
  }
  if ((*counted)[0] != numNonFinite)
    return makeError(Code::VerificationMismatch, "{} non-finite logits counted, there are {}", (*counted)[0],
                     numNonFinite);
  if (close > tokens / 4)
    return makeError(Code::VerificationMismatch, "{} of {} tokens were too close to call", close, tokens);
  report = fmt::format("worst weight error {:.1e}, {} tokens too close to call", worst, close);
  return {};
}

} // namespace

Status verifyRouting(Device &device, Bundle &bundle, const VerifyOptions &) {
  uint32_t failed = 0;
  for (const RouteConfig &config : shippedRouters()) {
    std::string report;
    const Status status = verifyRouter(device, bundle, config, report);
    failed += !status.ok();
    fmt::print("{} {}: {}\n", status.ok() ? "ok  " : "FAIL", shippedRoute(config).name,
               status.ok() ? report : status.message());
  }
  return failed == 0 ? Status() : makeError(Code::VerificationMismatch, "{} routers failed", failed);
}

} // namespace moec::bench
