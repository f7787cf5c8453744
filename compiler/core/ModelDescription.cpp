#include "compiler/core/ModelDescription.h"

#include "compiler/core/FieldsJson.h"

namespace moec {

namespace {

constexpr const char *schema = "moec.model";
constexpr uint64_t schemaVersion = 1;

} // namespace

template <typename Archive, Is<LayerDescription> T> void fields(Archive &archive, T &layer) {
  archive.field("layer", layer.layer);
  archive.field("shape", layer.shape);
  archive.field("router", layer.router);
  archive.field("weights", layer.weights);
}

std::string ModelDescription::toJson() const {
  fieldsjson::Writer writer;
  writer.object["schema"] = schema;
  writer.object["schema_version"] = schemaVersion;
  writer.field("name", name);
  writer.field("layers", layers);
  return writer.object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<ModelDescription> ModelDescription::fromJson(const std::string &text) {
  Result<JsonDocument> document = JsonDocument::parse(text, "model description", Code::InvalidModel);
  if (!document)
    return document.status();
  JsonValue root = document->root();
  root.requireSchema(schema, schemaVersion);
  ModelDescription model;
  fieldsjson::Reader reader{root};
  reader.field("name", model.name);
  reader.field("layers", model.layers);
  for (size_t i = 1; i < model.layers.size(); ++i)
    if (model.layers[i].layer <= model.layers[i - 1].layer)
      root["layers"].at(i).fail("layers must be listed by ascending number");
  if (Status status = document->status(); !status.ok())
    return status;
  return model;
}

} // namespace moec
