#include "runtime/device/cpu/MachineFacts.h"

#include "runtime/device/cpu/Bf16DotRate.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace moec {
namespace {

uint32_t usableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
    return static_cast<uint32_t>(CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

CpuIsa widestIsa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx512)
    return __builtin_cpu_supports("avx512bf16") ? CpuIsa::Avx512Bf16 : CpuIsa::Avx512;
#endif
  return CpuIsa::Avx2;
}

/// The ISA that bf16 layers run fastest on: the widest, unless its bf16 dot product is so slow (half rate on some
/// cores) that widening bf16 to f32 beats it.
CpuIsa fastestIsa() {
  static const CpuIsa fastest = [] {
    CpuIsa widest = widestIsa();
    return widest == CpuIsa::Avx512Bf16 && !bf16DotIsFaster() ? CpuIsa::Avx512 : widest;
  }();
  return fastest;
}

} // namespace

bool cpuHasAvx2() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

TargetFacts thisMachine() {
  TargetFacts facts;
  facts.isa = fastestIsa();
  facts.threads = usableProcessors();
  if (long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE); l2 > 0)
    facts.l2Bytes = static_cast<uint64_t>(l2);
  return facts;
}

Result<TargetFacts> runnableTarget(const std::string &name, uint32_t threads) {
  TargetFacts machine = thisMachine();
  Result<TargetFacts> facts = targetByName(name, machine);
  if (!facts)
    return facts;
  if (facts->device != DeviceKind::Cpu)
    return makeError(Code::InvalidArgument, "'{}' is a target to compile for; a GPU of this machine is cuda or cuda:N",
                     name);
  if (!cpuHasAvx2())
    return makeError(Code::DeviceMissing, "this CPU has no AVX2 and FMA, which target '{}' needs at least", name);
  if (static_cast<int>(facts->isa) > static_cast<int>(widestIsa()))
    return makeError(Code::DeviceMissing, "target '{}' needs {}, this CPU has {} at most", name, isaName(facts->isa),
                     isaName(widestIsa()));
  facts->threads = threads ? threads : machine.threads;
  facts->l2Bytes = machine.l2Bytes;
  return facts;
}

} // namespace moec
