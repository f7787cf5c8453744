// Stands in for a profiler: NVTX opens it (NVTX_INJECTION64_PATH) and tells it of every range, which it prints.
#include <nvtx3/nvToolsExt.h>

#include <cstdio>

namespace {

nvtxDomainHandle_t createDomain(const char *name) {
  static char domain; // any address: it comes back with every call
  std::fprintf(stderr, "nvtx domain %s\n", name);
  return reinterpret_cast<nvtxDomainHandle_t>(&domain);
}

void print(const char *what, const nvtxEventAttributes_t *attributes) {
  std::fprintf(stderr, "nvtx %s %s %llu\n", what, attributes->message.ascii,
               static_cast<unsigned long long>(attributes->payload.ullValue));
}

int push(nvtxDomainHandle_t, const nvtxEventAttributes_t *attributes) {
  print("push", attributes);
  return 0;
}
int pop(nvtxDomainHandle_t) {
  std::fprintf(stderr, "nvtx pop\n");
  return 0;
}
nvtxRangeId_t start(nvtxDomainHandle_t, const nvtxEventAttributes_t *attributes) {
  print("start", attributes);
  return 7;
}
void end(nvtxDomainHandle_t, nvtxRangeId_t id) {
  std::fprintf(stderr, "nvtx end %llu\n", static_cast<unsigned long long>(id));
}

template <typename Function> void set(NvtxFunctionTable table, unsigned index, Function *function) {
  *table[index] = reinterpret_cast<NvtxFunctionPointer>(function);
}

} // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t exportTable) {
  const auto *callbacks = static_cast<const NvtxExportTableCallbacks *>(exportTable(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (!callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) ||
      size <= NVTX_CBID_CORE2_DomainRangePop)
    return 0;
  set(table, NVTX_CBID_CORE2_DomainCreateA, createDomain);
  set(table, NVTX_CBID_CORE2_DomainRangePushEx, push);
  set(table, NVTX_CBID_CORE2_DomainRangePop, pop);
  set(table, NVTX_CBID_CORE2_DomainRangeStartEx, start);
  set(table, NVTX_CBID_CORE2_DomainRangeEnd, end);
  return 1;
}
