#include "compiler/core/CompileRequest.h"

#include "compiler/core/FieldsJson.h"
#include "compiler/core/Keys.h"

#include <fmt/ranges.h>

namespace moec {

namespace {

constexpr const char *schema = "moec.compile";
constexpr uint64_t schemaVersion = 1;

struct DecidedPlan {
  uint32_t layer = 0;
  LayerPlan plan;
};

template <typename Archive, Is<DecidedPlan> T> void fields(Archive &archive, T &decided) {
  archive.field("layer", decided.layer);
  archive.field("plan", decided.plan);
}

} // namespace

template <typename Archive, Is<PlanLimits> T> void fields(Archive &archive, T &limits) {
  archive.field("max_tile_heights", limits.maxTileHeights);
  archive.field("pack_budget_bytes", limits.packBudgetBytes);
  archive.field("slot_headroom", limits.slotHeadroom);
  archive.field("slot_align", limits.slotAlign);
}

template <typename Archive, Is<JitOptions> T> void fields(Archive &archive, T &jit) {
  archive.field("nvrtc_only", jit.nvrtcOnly);
  archive.field("nvrtc_also", jit.nvrtcAlso);
  archive.field("nvrtc_flags", jit.nvrtcFlags);
  archive.field("threads", jit.threads);
  archive.field("memory_mib", jit.memoryMib);
  archive.field("timeout_ms", jit.timeoutMs);
}

std::string CompileRequest::toJson() const {
  std::vector<DecidedPlan> decided;
  for (const auto &[layer, plan] : plans)
    decided.push_back({layer, plan});
  fieldsjson::Writer writer;
  writer.object["schema"] = schema;
  writer.object["schema_version"] = schemaVersion;
  writer.field("model", model);
  writer.field("profile", profile.toJson());
  writer.field("target", target);
  writer.field("limits", limits);
  writer.field("calibration", calibration.toJson());
  writer.field("layers", layers);
  writer.field("plans", decided);
  writer.field("stop_after", stopAfter);
  writer.field("emit", emit);
  writer.field("jit", jit);
  return writer.object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<CompileRequest> CompileRequest::fromJson(const std::string &text) {
  Result<JsonDocument> document = JsonDocument::parse(text, "compile request", Code::InvalidArgument);
  if (!document)
    return document.status();
  JsonValue root = document->root();
  root.requireSchema(schema, schemaVersion);
  CompileRequest request;
  std::string profile, calibration;
  std::vector<DecidedPlan> decided;
  fieldsjson::Reader reader{root};
  reader.field("model", request.model);
  reader.field("profile", profile);
  reader.field("target", request.target);
  reader.field("limits", request.limits);
  reader.field("calibration", calibration);
  reader.field("layers", request.layers);
  reader.field("plans", decided);
  reader.field("stop_after", request.stopAfter);
  reader.field("emit", request.emit);
  reader.field("jit", request.jit);
  if (Status status = document->status(); !status.ok())
    return status;
  for (DecidedPlan &plan : decided)
    request.plans[plan.layer] = std::move(plan.plan);
  Result<Profile> readProfile = Profile::fromJson(profile);
  if (!readProfile)
    return readProfile.status().withContext("compile request");
  Result<Calibration> readCalibration = Calibration::fromJson(calibration);
  if (!readCalibration)
    return readCalibration.status().withContext("compile request");
  request.profile = std::move(*readProfile);
  request.calibration = *readCalibration;
  return request;
}

std::string CompileRequest::keyText(const std::string &buildId) const {
  std::string asked = fmt::format("tokens={} layers={}", profile.defaultTokens, layers);
  for (const auto &[layer, histogram] : profile.layers)
    asked += fmt::format(" {}:{}", layer, moec::keyText(histogram));
  for (const auto &[layer, plan] : plans)
    asked += fmt::format(" plan {}:{} slots={} packed={} order={}", layer, plan.config.text(), plan.table.slots,
                         plan.table.packed, plan.table.order);
  RequestKey key{digest(model), moec::keyText(target), moec::keyText(limits), digest(calibration.toJson()), asked,
                 buildId};
  return key.text() + (emit == "package" && stopAfter.empty() ? "" : fmt::format("emit={} {}\n", emit, stopAfter)) +
         (jit.nvrtcFlags.empty() ? "" : fmt::format("nvrtc-flags: {}\n", digest(jit.nvrtcFlags)));
}

} // namespace moec
