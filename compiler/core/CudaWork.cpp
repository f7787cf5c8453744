#include "compiler/core/CudaWork.h"

#include "compiler/core/JoinedShared.h"

namespace moec {

namespace {

constexpr double elementBytes = 2, e4m3Bytes = 1,
                 indexBytes = 4; // bf16 or f16; ids, table entries, logits and pairs' weights

/// A product of `rows` rows: sums of length `k`, `n` weight rows, `weights` of them read.
CudaWork productWork(double rows, double k, double n, double weights, double outputs) {
  return {elementBytes * (weights * k + rows * outputs), 2 * rows * k * n};
}

/// A product of quantised rows [rows, k].
CudaWork e4m3Work(double rows, double k, double n, double weights, double outputs) {
  const double flops = 2 * rows * k * n;
  return {e4m3Bytes * (weights + rows) * k + elementBytes * rows * outputs, flops, flops};
}

} // namespace

CudaWork cudaLaunchWork(LaunchKind kind, const LayerShape &shape, uint32_t tokens, double expertsHit, bool e4m3) {
  const double hidden = shape.hidden, inner = shape.intermediate, shared = shape.sharedIntermediate,
               experts = shape.experts;
  const bool joined = joinsShared(shape);
  const double rows = tokens, pairs = rows * shape.topK, grouped = rows * rowsPerToken(shape),
               groupedHit = expertsHit + (joined ? 1 : 0);
  CudaWork work;
  switch (kind) {
  case LaunchKind::Router:
    return {elementBytes * (experts + rows) * hidden + indexBytes * rows * experts, 2 * rows * experts * hidden};
  case LaunchKind::Route: // logits read, ids and weights written
    return {indexBytes * (rows * experts + 2 * pairs), 0};
  case LaunchKind::Dispatch: // ids read; the pair of each row and the row of each pair written
    return {indexBytes * (2 * pairs + grouped), 0};
  case LaunchKind::GateUp:
    if (e4m3)
      return e4m3Work(grouped, hidden, 2 * inner, groupedHit * 2 * inner, inner);
    work = productWork(grouped, hidden, 2 * inner, groupedHit * 2 * inner, inner);
    work.bytes += elementBytes * rows * hidden; // gathered from the step's tokens
    return work;
  case LaunchKind::Down:
    if (e4m3)
      return e4m3Work(grouped, inner, hidden, groupedHit * hidden, hidden);
    work = productWork(grouped, inner, hidden, groupedHit * hidden, hidden);
    work.bytes += elementBytes * grouped * inner;
    return work;
  case LaunchKind::SharedGateUp:
    if (joined)
      return {};
    work = productWork(rows, hidden, 2 * shared, 2 * shared, shared);
    work.bytes += elementBytes * rows * hidden;
    return work;
  case LaunchKind::SharedDown:
    if (joined)
      return {};
    work = productWork(rows, shared, hidden, hidden, hidden);
    work.bytes += elementBytes * rows * shared;
    return work;
  case LaunchKind::Store: {
    const double added = pairs + (shape.sharedIntermediate ? rows : 0);
    return {elementBytes * (added + rows) * hidden + 2 * indexBytes * pairs, 2 * added * hidden};
  }
  }
  return work;
}

CudaWork cudaQuantiseTokensWork(const LayerShape &shape, uint32_t tokens) {
  const double rows = tokens, pairs = rows * shape.topK, grouped = rows * rowsPerToken(shape);
  return {shape.hidden * (elementBytes * rows + e4m3Bytes * grouped) + indexBytes * pairs, 0};
}

CudaWork cudaQuantiseActivatedWork(const LayerShape &shape, uint32_t tokens) {
  return {(elementBytes + e4m3Bytes) * shape.intermediate * tokens * rowsPerToken(shape), 0};
}

CudaWork cudaLayerWork(const LayerShape &shape, uint32_t tokens, double expertsHit, bool e4m3) {
  CudaWork work;
  for (LaunchKind kind : {LaunchKind::GateUp, LaunchKind::Down, LaunchKind::SharedGateUp, LaunchKind::SharedDown})
    work += cudaLaunchWork(kind, shape, tokens, expertsHit, e4m3);
  const bool joined = joinsShared(shape);
  const double weights = (e4m3 ? e4m3Bytes : elementBytes) * (expertsHit + (joined ? 1 : 0)) * shape.intermediate +
                         (joined ? 0 : elementBytes * shape.sharedIntermediate);
  work.bytes = shape.hidden * (3 * weights + elementBytes * 2.0 * tokens);
  return work;
}

} // namespace moec
