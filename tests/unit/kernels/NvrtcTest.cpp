#include "compiler/jit/Nvrtc.h"
#include "compiler/core/CudaLaunch.h"
#include "compiler/jit/ShippedKernels.h"
#include "tests/unit/Catch.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

using namespace moec;

namespace {

const Nvrtc &nvrtc() {
  static const Result<Nvrtc> opened = Nvrtc::open();
  INFO(opened.status().message());
  REQUIRE(opened.ok());
  return *opened;
}

KernelUnit smallUnit() { return shippedCombine({.element = Element::BF16, .topK = 2, .threads = 256}).unit; }

/// Resident bytes of this process.
size_t residentBytes() {
  std::ifstream file("/proc/self/statm");
  size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

constexpr bool underSanitizer() {
#if defined(__SANITIZE_ADDRESS__)
  return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return true;
#endif
#endif
  return false;
}

} // namespace

TEST_CASE("a compile hands out a cubin, PTX, lowered names and resources", "[kernels][nvrtc]") {
  KernelUnit unit = smallUnit();
  unit.kernels.push_back(combineKernel({.element = Element::F16, .topK = 8, .threads = 128}));
  const Result<CompiledUnit> compiled = nvrtc().compile(unit, {.target = "sm_80"});
  REQUIRE(compiled.ok());
  REQUIRE(compiled->cubin.size() > 64);
  CHECK(std::string(compiled->cubin.begin() + 1, compiled->cubin.begin() + 4) == "ELF");
  REQUIRE(compiled->loweredNames.size() == 2);
  REQUIRE(compiled->resources.size() == 2);
  for (size_t i = 0; i < 2; ++i) {
    CHECK(compiled->resources[i].loweredName == compiled->loweredNames[i]);
    CHECK(compiled->resources[i].registers > 8);
    CHECK(compiled->ptx.find(compiled->loweredNames[i]) != std::string::npos);
  }
  CHECK(compiled->loweredNames[0] != compiled->loweredNames[1]);
}

TEST_CASE("the same unit gives the same bytes twice", "[kernels][nvrtc]") {
  const Result<CompiledUnit> first = nvrtc().compile(smallUnit(), {}), second = nvrtc().compile(smallUnit(), {});
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->cubin == second->cubin);
}

TEST_CASE("a functor made by code generation joins gate and up", "[kernels][nvrtc]") {
  GemmConfig config = shippedGemms(GemmFamily::Portable, Element::BF16, GemmRole::GateUp)[0];
  const KernelUnit unit{.files = {KernelFile::GroupedGemmPortable},
                        .functors = {{"Activation0", "    const float a = fmaxf(gate, 0.0f);\n    return a * a * up;"}},
                        .kernels = {gemmPortableKernel(config, "Activation0")}};
  const Result<CompiledUnit> compiled = nvrtc().compile(unit, {.target = "sm_80"});
  INFO(compiled.status().message());
  REQUIRE(compiled.ok());
  CHECK(compiled->ptx.find("max.f32") != std::string::npos);
  CHECK(compiled->ptx.find("ex2.approx") == std::string::npos); // no SiLU left in it
}

TEST_CASE("a kernel that does not compile is an error with the log's words", "[kernels][nvrtc]") {
  KernelUnit unit = smallUnit();
  unit.kernels = {"moec::noSuchKernel<1u>"};
  const Result<CompiledUnit> compiled = nvrtc().compile(unit, {});
  REQUIRE_FALSE(compiled.ok());
  CHECK(compiled.status().code() == Code::CompileFailed);
  CHECK(compiled.status().message().find("noSuchKernel") != std::string::npos);
}

TEST_CASE("a target that is none is refused by name", "[kernels][nvrtc]") {
  for (const char *target : {"", "sm_", "90a", "sm_90x", "sm_90a -I/etc", "compute_90", "sm_90aa"}) {
    INFO(target);
    const Result<std::vector<std::string>> options = Nvrtc::compileOptions({.target = target});
    REQUIRE_FALSE(options.ok());
    CHECK(options.status().code() == Code::InvalidArgument);
  }
  CHECK(Nvrtc::compileOptions({.target = "sm_120"}).ok());
  CHECK(Nvrtc::compileOptions({.target = "sm_100f"}).ok());
}

TEST_CASE("a compile stops when it is cancelled", "[kernels][nvrtc]") {
  const KernelUnit unit =
      shippedGemm(GemmFamily::Hopper, shippedGemms(GemmFamily::Hopper, Element::BF16, GemmRole::GateUp).back()).unit;
  std::atomic<int> asked = 0;
  // Not at the first question, which comes before NVRTC is called: the compile must be stopped from within.
  const Result<CompiledUnit> compiled = nvrtc().compile(unit, {.cancelled = [&] { return ++asked > 3; }});
  REQUIRE_FALSE(compiled.ok());
  CHECK(compiled.status().code() == Code::Cancelled);
  CHECK(asked > 3);

  asked = 0;
  const Result<CompiledUnit> finished = nvrtc().compile(smallUnit(), {.cancelled = [&] { return ++asked < 0; }});
  CHECK(finished.ok());
  CHECK(asked > 5); // it is asked all along
}

TEST_CASE("a compile leaves the stack limit of the process alone", "[kernels][nvrtc]") {
  rlimit before{}, after{};
  getrlimit(RLIMIT_STACK, &before);
  REQUIRE(nvrtc().compile(smallUnit(), {}).ok());
  getrlimit(RLIMIT_STACK, &after);
  CHECK(before.rlim_cur == after.rlim_cur);
}

TEST_CASE("units compile on several threads at once", "[kernels][nvrtc]") {
  const Nvrtc &shared = nvrtc();
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] { good += shared.compile(smallUnit(), {}).ok(); });
  for (std::thread &thread : threads)
    thread.join();
  CHECK(good == 4);
}

TEST_CASE("memory stays flat over 300 compiles", "[kernels][nvrtc][memory]") {
  const KernelUnit unit = shippedDispatch("Count", dispatchConfigOf(8)).unit;
  size_t warm = 0;
  for (int i = 0; i < 320; ++i) {
    REQUIRE(nvrtc().compile(unit, {.target = "sm_80"}).ok());
    if (i == 19)
      warm = residentBytes();
  }
  if (!underSanitizer()) // whose quarantine keeps what is freed
    CHECK(residentBytes() < warm + (size_t{4} << 20));
}

TEST_CASE("libnvrtc is found in the folder of a Python wheel", "[kernels][nvrtc]") {
  namespace fs = std::filesystem;
  fs::path real;
  for (const char *folder : {"/usr/local/cuda/lib64", "/usr/local/cuda/lib", "/usr/local/lib/moec/nvidia/cu13/lib"})
    if (fs::exists(fs::path(folder) / "libnvrtc.so.13"))
      real = fs::path(folder) / "libnvrtc.so.13";
  if (real.empty()) {
    WARN("skipped: no libnvrtc.so.13 below /usr/local to link to");
    return;
  }
  const fs::path site = fs::temp_directory_path() / fmt::format("moec-nvrtc-{}", getpid());
  fs::create_directories(site / "nvidia/cuda_nvrtc/lib");
  fs::create_symlink(real, site / "nvidia/cuda_nvrtc/lib/libnvrtc.so.13");
  const Result<Nvrtc> opened = Nvrtc::open({.only = {site.string()}, .also = {}});
  fs::remove_all(site);
  REQUIRE(opened.ok());
  CHECK(opened->version().major == 13);
  CHECK(opened->path().find("libnvrtc.so.13") != std::string::npos);
}

TEST_CASE("a place that was named is the only one", "[kernels][nvrtc]") {
  const Result<Nvrtc> opened = Nvrtc::open({.only = {"/nowhere"}, .also = {}});
  CHECK(opened.status().code() == Code::NotFound);
  CHECK(opened.status().message() == "found no libnvrtc (tried /nowhere)");
}

TEST_CASE("the ptxas report is read kernel by kernel", "[kernels][nvrtc]") {
  const std::string log = "ptxas info    : 0 bytes gmem\n"
                          "ptxas info    : Compiling entry function '_Z1av' for 'sm_90a'\n"
                          "ptxas info    : Function properties for _Z1av\n"
                          "    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\n"
                          "ptxas info    : Used 96 registers, used 1 barriers, 128 bytes smem\n"
                          "ptxas info    : Compiling entry function '_Z1bv' for 'sm_90a'\n"
                          "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
                          "ptxas info    : Used 24 registers, used 0 barriers\n";
  const std::vector<ResourceUse> found = parsePtxasReport(log);
  REQUIRE(found.size() == 2);
  CHECK(found[0].loweredName == "_Z1av");
  CHECK(found[0].registers == 96);
  CHECK(found[0].stackBytes == 16);
  CHECK(found[0].spillStoreBytes == 8);
  CHECK(found[0].spillLoadBytes == 12);
  CHECK(found[0].staticSharedBytes == 128);
  CHECK(found[1].registers == 24);
  CHECK(found[1].staticSharedBytes == 0);
  CHECK_FALSE(reportsSerialisedWgmma(log));
  CHECK(reportsSerialisedWgmma("ptxas info : (C7510) Potential Performance Loss: wgmma.mma_async instructions are "
                               "serialized due to insufficient register resources for the wgmma pipeline"));
}
