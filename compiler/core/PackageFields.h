// The fields of every struct in a package's manifest, listed once for writing and for reading.
//
// An archive has `field(name, value)`; `Is<T, Struct>` accepts both the const struct that is
// written and the one that is read into.
#pragma once

#include "compiler/core/Package.h"

#include <concepts>

namespace moec {

template <typename T, typename Struct>
concept Is = std::same_as<std::remove_const_t<T>, Struct>;

template <typename Archive, Is<GpuFacts> T> void fields(Archive &archive, T &gpu) {
  archive.field("model", gpu.model);
  archive.field("multiprocessors", gpu.multiprocessors);
  archive.field("shared_bytes_per_block", gpu.sharedBytesPerBlock);
  archive.field("l2_bytes", gpu.l2Bytes);
  archive.field("memory_bytes_per_ns", gpu.memoryBytesPerNs);
  archive.field("matrix_flops_per_ns", gpu.matrixFlopsPerNs);
}

template <typename Archive, Is<TargetFacts> T> void fields(Archive &archive, T &facts) {
  archive.field("device", facts.device);
  archive.field("name", facts.name);
  archive.field("arch", facts.arch);
  archive.field("gpu", facts.gpu);
  archive.field("isa", facts.isa);
  archive.field("threads", facts.threads);
  archive.field("l2_bytes", facts.l2Bytes);
}

template <typename Archive, Is<LayerShape> T> void fields(Archive &archive, T &shape) {
  archive.field("hidden", shape.hidden);
  archive.field("intermediate", shape.intermediate);
  archive.field("experts", shape.experts);
  archive.field("top_k", shape.topK);
  archive.field("dtype", shape.dtype);
  archive.field("shared_intermediate", shape.sharedIntermediate);
  archive.field("shared_gate", shape.sharedGate);
  archive.field("shared_alike", shape.sharedAlike);
  archive.field("expert_bias", shape.expertBias);
  archive.field("weight_on_input", shape.weightOnInput);
  archive.field("expert_format", shape.expertFormat);
}

template <typename Archive, Is<RouterSpec> T> void fields(Archive &archive, T &router) {
  archive.field("before", router.before);
  archive.field("after", router.after);
  archive.field("correction_bias", router.correctionBias);
  archive.field("router_bias", router.routerBias);
  archive.field("groups", router.groups);
  archive.field("groups_picked", router.groupsPicked);
  archive.field("group_top", router.groupTop);
  archive.field("renormalise", router.renormalise);
  archive.field("epsilon", router.epsilon);
  archive.field("scale", router.scale);
}

template <typename Archive, Is<WeightRef> T> void fields(Archive &archive, T &weight) {
  archive.field("name", weight.name);
  archive.field("shape", weight.shape);
  archive.field("dtype", weight.dtype);
  archive.field("format", weight.format);
}

template <typename Archive, Is<LayerWeights> T> void fields(Archive &archive, T &weights) {
  archive.field("router", weights.router);
  archive.field("router_bias", weights.routerBias);
  archive.field("correction_bias", weights.correctionBias);
  archive.field("gate", weights.gate);
  archive.field("up", weights.up);
  archive.field("down", weights.down);
  archive.field("gate_bias", weights.gateBias);
  archive.field("up_bias", weights.upBias);
  archive.field("down_bias", weights.downBias);
  archive.field("shared_gate", weights.sharedGate);
  archive.field("shared_up", weights.sharedUp);
  archive.field("shared_down", weights.sharedDown);
  archive.field("shared_router", weights.sharedRouter);
}

template <typename Archive, Is<CpuConfig> T> void fields(Archive &archive, T &config) {
  archive.field("isa", config.isa);
  archive.field("compute", config.compute);
  archive.field("tile_rows", config.tileRows);
}

template <typename Archive, Is<CudaConfig> T> void fields(Archive &archive, T &config) {
  archive.field("element", config.element);
  archive.field("gate_up", config.gateUp);
  archive.field("down", config.down);
  archive.field("shared_gate_up", config.sharedGateUp);
  archive.field("shared_down", config.sharedDown);
}

template <typename Archive, Is<LayerConfig> T> void fields(Archive &archive, T &config) {
  archive.field("device", config.device);
  if (config.device == DeviceKind::Cpu)
    archive.field("cpu", config.cpu);
  else
    archive.field("cuda", config.cuda);
}

template <typename Archive, Is<LayerTable> T> void fields(Archive &archive, T &table) {
  archive.field("slots", table.slots);
  archive.field("packed", table.packed);
  archive.field("order", table.order);
}

template <typename Archive, Is<LayerPlan> T> void fields(Archive &archive, T &plan) {
  archive.field("config", plan.config);
  archive.field("table", plan.table);
  archive.field("predicted_ns", plan.predictedNs);
}

template <typename Archive, Is<Histogram> T> void fields(Archive &archive, T &histogram) {
  archive.field("tokens", histogram.tokens);
  archive.field("pairs", histogram.pairs);
}

template <typename Archive, Is<KernelRef> T> void fields(Archive &archive, T &kernel) {
  archive.field("rows", kernel.rows);
  archive.field("symbol", kernel.symbol);
  archive.field("image", kernel.image);
  archive.field("columns", kernel.columns);
  archive.field("max_tokens", kernel.maxTokens);
}

template <typename Archive, Is<KernelResources> T> void fields(Archive &archive, T &resources) {
  archive.field("threads", resources.threads);
  archive.field("dynamic_shared_bytes", resources.dynamicSharedBytes);
  archive.field("static_shared_bytes", resources.staticSharedBytes);
  archive.field("registers", resources.registers);
  archive.field("local_bytes", resources.localBytes);
  archive.field("compile_ms", resources.compileMs);
}

template <typename Archive, Is<Launch> T> void fields(Archive &archive, T &launch) {
  archive.field("kind", launch.kind);
  archive.field("k", launch.k);
  archive.field("columns", launch.columns);
  archive.field("kernels", launch.kernels);
  archive.field("pack", launch.pack);
}

template <typename Archive, Is<LayerPackage> T> void fields(Archive &archive, T &layer) {
  archive.field("layer", layer.layer);
  archive.field("shape", layer.shape);
  archive.field("router", layer.router);
  archive.field("weights", layer.weights);
  archive.field("plan", layer.plan);
  archive.field("planned_for", layer.plannedFor);
  archive.field("launches", layer.launches);
  archive.field("image", layer.image);
}

} // namespace moec
