#include "compiler/core/LayerShape.h"

namespace moec {

const char *dtypeName(DType dtype) {
  switch (dtype) {
  case DType::F32: return "f32";
  case DType::BF16: return "bf16";
  case DType::F16: return "f16";
  }
  return "unknown";
}

Result<DType> parseDType(const std::string &name) {
  for (DType dtype : {DType::F32, DType::BF16, DType::F16})
    if (name == dtypeName(dtype))
      return dtype;
  return makeError(Code::InvalidArgument, "unknown dtype '{}': expected f32, bf16 or f16", name);
}

const char *weightFormatName(WeightFormat format) { return format == WeightFormat::Plain ? "plain" : "block_e4m3"; }

Result<WeightFormat> parseWeightFormat(const std::string &name) {
  for (WeightFormat format : {WeightFormat::Plain, WeightFormat::BlockE4M3})
    if (name == weightFormatName(format))
      return format;
  return makeError(Code::InvalidArgument, "unknown format of weights '{}': expected plain or block_e4m3", name);
}

} // namespace moec
