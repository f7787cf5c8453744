#include "compiler/core/TargetFacts.h"

namespace moec {

const char *isaName(CpuIsa isa) {
  switch (isa) {
  case CpuIsa::Avx2: return "avx2";
  case CpuIsa::Avx512: return "avx512";
  case CpuIsa::Avx512Bf16: return "avx512bf16";
  }
  return "unknown";
}

Result<TargetFacts> targetByName(const std::string &name, const TargetFacts &thisMachine) {
  TargetFacts facts = thisMachine;
  facts.name = name;
  if (name == "cpu")
    return facts;
  for (CpuIsa isa : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16}) {
    if (name != std::string("cpu-") + isaName(isa))
      continue;
    facts.isa = isa;
    return facts;
  }
  return makeError(Code::InvalidArgument,
                   "unknown target '{}': expected cpu, cpu-avx2, cpu-avx512 or cpu-avx512bf16", name);
}

} // namespace moec
