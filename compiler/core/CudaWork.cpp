#include "compiler/core/CudaWork.h"

namespace moec {

namespace {

constexpr double elementBytes = 2, indexBytes = 4; // bf16 or f16; ids, table entries, logits and pairs' weights

/// A product of `rows` rows: sums of length `k`, `n` weight rows, `weights` of them read.
CudaWork productWork(double rows, double k, double n, double weights, double outputs) {
  return {elementBytes * (weights * k + rows * outputs), 2 * rows * k * n};
}

} // namespace

CudaWork cudaLaunchWork(LaunchKind kind, const LayerShape &shape, uint32_t tokens, double expertsHit) {
  const double hidden = shape.hidden, inner = shape.intermediate, shared = shape.sharedIntermediate, experts = shape.experts;
  const double rows = tokens, pairs = rows * shape.topK;
  CudaWork work;
  switch (kind) {
  case LaunchKind::Router:
    return {elementBytes * (experts + rows) * hidden + indexBytes * rows * experts, 2 * rows * experts * hidden};
  case LaunchKind::Route: // logits read, ids and weights written
    return {indexBytes * (rows * experts + 2 * pairs), 0};
  case LaunchKind::Dispatch: // ids read; the pair of each row and the row of each pair written
    return {indexBytes * 3 * pairs, 0};
  case LaunchKind::GateUp:
    work = productWork(pairs, hidden, 2 * inner, expertsHit * 2 * inner, inner);
    work.bytes += elementBytes * rows * hidden; // gathered from the step's tokens
    return work;
  case LaunchKind::Down:
    work = productWork(pairs, inner, hidden, expertsHit * hidden, hidden);
    work.bytes += elementBytes * pairs * inner;
    return work;
  case LaunchKind::SharedGateUp:
    work = productWork(rows, hidden, 2 * shared, 2 * shared, shared);
    work.bytes += elementBytes * rows * hidden;
    return work;
  case LaunchKind::SharedDown:
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

CudaWork cudaLayRowsWork(const LayerShape &shape, uint32_t tokens) {
  const double rows = tokens, pairs = rows * shape.topK;
  return {elementBytes * (rows + pairs) * shape.hidden + indexBytes * pairs, 0};
}

CudaWork cudaLayerWork(const LayerShape &shape, uint32_t tokens, double expertsHit) {
  const double columns = expertsHit * shape.intermediate + shape.sharedIntermediate;
  CudaWork work;
  work.bytes = elementBytes * shape.hidden * (3 * columns + 2.0 * tokens);
  for (LaunchKind kind : {LaunchKind::GateUp, LaunchKind::Down, LaunchKind::SharedGateUp, LaunchKind::SharedDown})
    work.flops += cudaLaunchWork(kind, shape, tokens, expertsHit).flops;
  return work;
}

} // namespace moec
