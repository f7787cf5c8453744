#include "compiler/jit/ShippedKernels.h"
#include "compiler/core/CudaLaunch.h"
#include "compiler/core/CudaTiles.h"
#include "compiler/jit/Nvrtc.h"
#include "compiler/jit/ShippedFp8.h"
#include "compiler/kernels/GateUpFewAbi.h"
#include "tests/unit/Catch.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

using namespace moec;

namespace {

bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

bool isGemm(const ShippedKernel &kernel) { return contains(kernel.name, "gateup") || contains(kernel.name, "-down-"); }
bool isDownFew(const ShippedKernel &kernel) { return kernel.name.starts_with("downfew-"); }
bool isBf16(const ShippedKernel &kernel) { return contains(kernel.name, "-bf16-"); }
bool isFp8(const ShippedKernel &kernel) {
  return kernel.name.starts_with("fp8-") || kernel.name.starts_with("downfew-fp8-") || kernel.name == "gateupfew-fp8";
}

/// Every instruction of PTX that begins with `name` ends in `types`, and there is one.
bool multiplies(const std::string &ptx, const std::string &name, const std::string &types) {
  size_t number = 0;
  for (size_t at = ptx.find(name); at != std::string::npos; at = ptx.find(name, at + 1), ++number)
    if (!ptx.substr(at, ptx.find_first_of(" \t\n", at) - at).ends_with(types))
      return false;
  return number > 0;
}

/// What is wrong with a kernel's instructions; empty if nothing. Another element's would be as quick, and wrong.
std::string instructionComplaint(const ShippedKernel &kernel, const std::string &ptx) {
  const std::string element = isFp8(kernel)    ? "e4m3"
                              : isBf16(kernel) ? "bf16"
                                               : "f16",
                    types = fmt::format(".f32.{0}.{0}", element);
  const bool portable = contains(kernel.name, "portable");
  if (!isGemm(kernel) && !isDownFew(kernel) && !contains(kernel.name, "routerlogits"))
    return "";
  if (contains(kernel.name, "routerlogits") ? !contains(kernel.name, "-wgmma")
                                            : portable || (isDownFew(kernel) && !isFp8(kernel))) {
    if (!multiplies(ptx, "mma.sync.", types + ".f32"))
      return "no mma.sync of " + element;
  } else if (!multiplies(ptx, "wgmma.mma_async.", types)) {
    return "no wgmma of " + element;
  }
  if ((isGemm(kernel) || isDownFew(kernel)) &&
      !contains(ptx, portable ? "cp.async.cg.shared.global" : "cp.async.bulk.tensor."))
    return portable ? "no cp.async" : "no TMA";
  return "";
}

/// What is wrong with what ptxas made of a kernel; empty if nothing.
std::string resourceComplaint(const ShippedKernel &kernel, const CompiledUnit &compiled) {
  const ResourceUse &use = compiled.resources.at(0);
  if (use.spillStoreBytes + use.spillLoadBytes > 0)
    return fmt::format("spills {} bytes", use.spillStoreBytes);
  if (compiled.wgmmaSerialised)
    return "wgmma is serialised";
  if ((isGemm(kernel) || isDownFew(kernel) || contains(kernel.name, "routerlogits")) && use.stackBytes > 0)
    return "sums lie in local memory";
  return "";
}

/// Compiles all on as many threads as the machine has; returns one line for each kernel that is not as it should be.
std::vector<std::string> compileAll(const Nvrtc &nvrtc, const std::vector<ShippedKernel> &kernels,
                                    const NvrtcOptions &options) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::vector<std::string> complaints;
  const auto work = [&] {
    for (size_t i = next++; i < kernels.size(); i = next++) {
      const Result<CompiledUnit> compiled = nvrtc.compile(kernels[i].unit, options);
      std::string wrong = compiled.ok() ? instructionComplaint(kernels[i], compiled->ptx) : compiled.status().message();
      if (compiled.ok() && wrong.empty() && options.cubin)
        wrong = resourceComplaint(kernels[i], *compiled);
      const std::lock_guard lock(mutex);
      if (!wrong.empty())
        complaints.push_back(kernels[i].name + ": " + wrong);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i)
    threads.emplace_back(work);
  for (std::thread &thread : threads)
    thread.join();
  return complaints;
}

/// bf16 products go through ptxas where the planner's configs do (tests/unit/compiler/CudaConfigsTest.cpp), with the
/// models' own activations; here their PTX is looked at. It is f16's turn, and all other kernels'.
void checkTarget(const std::string &target) {
  const Result<Nvrtc> nvrtc = Nvrtc::open();
  REQUIRE(nvrtc.ok());
  std::vector<ShippedKernel> kernels = shippedKernels(target);
  const auto rest = std::partition(kernels.begin(), kernels.end(),
                                   [](const ShippedKernel &kernel) { return isGemm(kernel) && isBf16(kernel); });
  const std::vector<ShippedKernel> bf16Products(kernels.begin(), rest), others(rest, kernels.end());
  REQUIRE(!bf16Products.empty());
  CHECK(compileAll(*nvrtc, bf16Products, {.target = target, .cubin = false}) == std::vector<std::string>{});
  CHECK(compileAll(*nvrtc, others, {.target = target}) == std::vector<std::string>{});
}

} // namespace

TEST_CASE("every kernel shipped for sm_80 compiles without spills and uses mma.sync", "[kernels][shipped]") {
  checkTarget("sm_80");
}

TEST_CASE("every kernel shipped for sm_90a compiles without spills and uses its matrix instructions",
          "[kernels][shipped]") {
  checkTarget("sm_90a");
}

TEST_CASE("names of shipped kernels are unique and fit to be file names", "[kernels][shipped]") {
  std::set<std::string> names;
  for (const ShippedKernel &kernel : shippedKernels("sm_90a")) {
    INFO(kernel.name);
    CHECK(names.insert(kernel.name).second);
    CHECK(kernel.name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") ==
          std::string::npos);
  }
}

TEST_CASE("only sm_90a gets the Hopper, fitted and e4m3 families and kernels of few tokens", "[kernels][shipped]") {
  const auto hopper = [](const std::string &target) {
    const std::vector<ShippedKernel> all = shippedKernels(target);
    return std::count_if(all.begin(), all.end(), [](const ShippedKernel &kernel) {
      return kernel.unit.files[0] == KernelFile::GroupedGemmSm90 ||
             kernel.unit.files[0] == KernelFile::GroupedGemmFitted ||
             kernel.unit.files[0] == KernelFile::GroupedGemmFp8 || kernel.unit.files[0] == KernelFile::DownFew ||
             kernel.unit.files[0] == KernelFile::DownFewFp8 || kernel.unit.files[0] == KernelFile::GateUpFewFp8;
    });
  };
  CHECK(hopper("sm_90a") > 0);
  for (const char *target : {"sm_80", "sm_89", "sm_90", "sm_100", "sm_120"})
    CHECK(hopper(target) == 0);
}

TEST_CASE("shared memory of a shipped tile fits its multiprocessors", "[kernels][shipped]") {
  for (Element element : {Element::BF16, Element::F16})
    for (GemmRole role : {GemmRole::GateUp, GemmRole::Down}) {
      for (const GemmConfig &c : shippedGemms(GemmFamily::Portable, element, role))
        CHECK(portableSharedBytes(c) <= 99u * 1024); // sm_86, sm_89, sm_120
      for (GemmFamily family : {GemmFamily::Hopper, GemmFamily::Fitted})
        for (const GemmConfig &c : shippedGemms(family, element, role)) {
          // 228 KB a multiprocessor, 1 KB of it reserved for each block.
          const uint32_t bytes =
              hopperSharedBytes(c) + (family == GemmFamily::Fitted ? fittedStaticBytes(c) : 16 * c.stages);
          CHECK(bytes <= 227u * 1024);
          CHECK(c.blocksPerSm * (bytes + 1024) <= 228u * 1024);
        }
    }
}

TEST_CASE("shared memory of an e4m3 tile fits its multiprocessor", "[kernels][shipped]") {
  for (GemmRole role : {GemmRole::GateUp, GemmRole::Down})
    for (const GemmConfig &c : shippedFp8Gemms(role)) {
      const uint32_t bytes = fp8SharedBytes(c) + fittedStaticBytes(c);
      CHECK(bytes <= 227u * 1024);
      CHECK(c.blocksPerSm * (bytes + 1024) <= 228u * 1024);
    }
}

TEST_CASE("one block alone fits a multiprocessor of sm_90, and two do not", "[kernels][shipped]") {
  constexpr uint32_t kib = 1024;
  CHECK(2 * (kAloneSharedBytes + kib) > 228 * kib);
  for (const GemmFamily family : {GemmFamily::Fitted, GemmFamily::Fp8})
    for (const CudaTile &tile : family == GemmFamily::Fp8 ? e4m3TileClasses() : cudaTileClasses()) {
      if (tile.family != family || tile.blocksPerSm == 1)
        continue;
      const GemmConfig config = gemmConfigOf(tile, DType::BF16, GemmRole::Down, false);
      CAPTURE(tile.text());
      CHECK(gemmSharedBytes(family, config) <= kAloneSharedBytes);
      CHECK(kAloneSharedBytes + fittedStaticBytes(config) <= 227 * kib);
    }
}

TEST_CASE("downFew of any number of experts a token compiles without spills, with biases and without",
          "[kernels][shipped]") {
  const Result<Nvrtc> nvrtc = Nvrtc::open();
  REQUIRE(nvrtc.ok());
  std::vector<ShippedKernel> kernels;
  for (bool biased : {false, true})
    for (uint32_t topK : {5, 10, 16})
      kernels.push_back(shippedDownFew({.element = Element::BF16, .topK = topK, .biased = biased}));
  CHECK(compileAll(*nvrtc, kernels, {.target = "sm_90a"}) == std::vector<std::string>{});
}

TEST_CASE("downFew is for one and two tokens of layers whose sizes it takes", "[kernels][shipped]") {
  CHECK(downIsFew(1, 8, 1024, 2048)); // OLMoE
  CHECK(downIsFew(2, 8, 768, 2048));  // Qwen3
  CHECK(downIsFew(2, 16, 4096, 16));  // 256 loads
  CHECK_FALSE(downIsFew(0, 8, 768, 2048));
  CHECK_FALSE(downIsFew(3, 8, 768, 2048));
  CHECK_FALSE(downIsFew(1, 2, 14336, 4096)); // Mixtral: too few experts a token
  CHECK_FALSE(downIsFew(1, 17, 768, 2048));  // two tokens would have more pairs than a warp has lanes
  CHECK_FALSE(downIsFew(1, 16, 4160, 16));   // 272 loads
  CHECK_FALSE(downIsFew(1, 8, 776, 2048));
  CHECK_FALSE(downIsFew(1, 8, 768, 2056));
}

TEST_CASE("downFew has all of a token's weights under way where a block has room for them", "[kernels][shipped]") {
  CHECK(downFewSlots(1, 8, 768, 2048, 132) == 24);                 // three chunks of eight experts; 128 blocks
  CHECK(downFewSlots(1, 8, 1024, 2048, 132) == kDownFewMostSlots); // of 32
  CHECK(downFewSlots(2, 8, 768, 2048, 132) == kDownFewSlots);      // 256 blocks
  CHECK(downFewSlots(1, 8, 768, 2048, 114) == kDownFewSlots);
  CHECK(downFewSlots(2, 4, 320, 2880, 132) == 8); // two chunks of four experts
}

TEST_CASE("downFewFp8 of any number of experts a token compiles without spills", "[kernels][shipped]") {
  const Result<Nvrtc> nvrtc = Nvrtc::open();
  REQUIRE(nvrtc.ok());
  std::vector<ShippedKernel> kernels;
  for (uint32_t topK = 1; topK <= kDownFewMostTopK; ++topK)
    for (uint32_t groups = 1; groups == 1 || topK * groups <= kDownFewFp8Pairs; groups *= 2)
      kernels.push_back(shippedDownFewFp8(topK, groups));
  CHECK(compileAll(*nvrtc, kernels, {.target = "sm_90a"}) == std::vector<std::string>{});
}

TEST_CASE("downFewFp8 is for up to four tokens of layers whose sizes it takes, as long as they are no more blocks",
          "[kernels][shipped]") {
  CHECK(downIsFewFp8(1, 8, 1024, 2048)); // OLMoE
  CHECK(downIsFewFp8(4, 8, 1024, 2048)); // 512 blocks
  CHECK(downIsFewFp8(4, 8, 768, 2048));  // Qwen3
  CHECK(downIsFewFp8(2, 8, 1536, 4096)); // Qwen3-235B: 512 blocks
  CHECK_FALSE(downIsFewFp8(3, 8, 1536, 4096));
  CHECK(downIsFewFp8(1, 8, 2048, 7168)); // DeepSeek-V3: 448 blocks
  CHECK_FALSE(downIsFewFp8(2, 8, 2048, 7168));
  CHECK(downIsFewFp8(2, 16, 2048, 2048)); // 32 KB of rows
  CHECK_FALSE(downIsFewFp8(2, 16, 2176, 2048));
  CHECK(downIsFewFp8(1, 8, 4096, 2048)); // likewise
  CHECK_FALSE(downIsFewFp8(1, 8, 4224, 2048));
  CHECK_FALSE(downIsFewFp8(0, 8, 768, 2048));
  CHECK_FALSE(downIsFewFp8(5, 4, 768, 1024));
  CHECK_FALSE(downIsFewFp8(4, 9, 768, 1024));   // 36 pairs
  CHECK(downIsFewFp8(4, 1, 2048, 7168));        // DeepSeek-V3 where an expert-parallel rank has one pair a token
  CHECK_FALSE(downIsFewFp8(1, 2, 14336, 4096)); // Mixtral: rows of 112 KB
  CHECK_FALSE(downIsFewFp8(1, 0, 768, 2048));
  CHECK_FALSE(downIsFewFp8(1, 17, 768, 2048)); // two tokens would have more pairs than a warp has lanes
  CHECK_FALSE(downIsFewFp8(1, 8, 832, 2048));  // no multiple of 128
  CHECK_FALSE(downIsFewFp8(1, 8, 768, 2056));
}

TEST_CASE("a block of downFewFp8 has groups of columns up to what fills a product and leaves blocks enough",
          "[kernels][shipped]") {
  CHECK((downFewFp8Groups(1, 7168) == 4 && downFewFp8Blocks(2, 1, 7168) == 224));
  CHECK((downFewFp8Groups(1, 6144) == 4 && downFewFp8Groups(1, 6128) == 1)); // 383 groups of 16 columns
  CHECK((downFewFp8Groups(1, 4096) == 2 && downFewFp8Groups(1, 2048) == 1));
  CHECK((downFewFp8Groups(2, 7168) == 2 && downFewFp8Blocks(1, 2, 7168) == 224));
  CHECK((downFewFp8Groups(3, 7168) == 1 && downFewFp8Groups(8, 7168) == 1 && downFewFp8Blocks(1, 8, 7168) == 448));
}

TEST_CASE("downFewFp8 has all of a token's weights under way where a block has room for them", "[kernels][shipped]") {
  CHECK(downFewFp8Slots(1, 8, 768, 2048, 132) == 6);  // three chunks of two times four experts; 128 blocks
  CHECK(downFewFp8Slots(1, 8, 1024, 2048, 132) == 8); // four chunks
  CHECK(downFewFp8Slots(4, 8, 768, 2048, 132) == 5);  // 512 blocks: of 98 KB 6 are rows' and 1 is lost, a slot has 16
  CHECK(downFewFp8Slots(4, 8, 1024, 2048, 132) == 5); // of 8
  CHECK(downFewFp8Slots(1, 8, 1024, 2048, 114) == 5);
  CHECK(downFewFp8Slots(1, 8, 2048, 7168, 132) == 5);  // of 16, beside 16 KB of rows
  CHECK(downFewFp8Slots(1, 8, 4096, 2048, 132) == 11); // of 32, in 220 KB beside 32 KB
  CHECK(downFewFp8Slots(2, 4, 384, 48, 132) == 2);
  CHECK(downFewFp8Slots(1, 1, 2048, 7168, 132) == 8); // eight chunks; 112 blocks
  CHECK(downFewFp8Slots(2, 1, 2048, 7168, 132) == 5); // 224
}

TEST_CASE("downFewFp8 asks for no more shared memory than a launch may, and two share a multiprocessor where it says",
          "[kernels][shipped]") {
  for (uint32_t topK = 1; topK <= kDownFewMostTopK; ++topK)
    for (uint32_t n : {2048, 7168})
      for (uint32_t k = kFp8Block; fitsDownFewFp8(topK, k, n); k += kFp8Block)
        for (uint32_t tokens = 1; downIsFewFp8(tokens, topK, k, n); ++tokens) {
          CAPTURE(topK, n, k, tokens);
          const uint32_t slots = downFewFp8Slots(tokens, topK, k, n, 132);
          CHECK((slots > 0 && slots <= downFewFp8Fills(topK, k)));
          const bool alone = downFewFp8Blocks(tokens, topK, n) <= 132;
          CHECK(downFewFp8SharedBytes(topK, k, slots) <= (alone ? kDownFewFp8MostSharedBytes : kDownFewFp8SharedBytes));
        }
}

TEST_CASE("gateUpFewFp8 takes hidden states of up to 64 blocks of the scales, in whole ones", "[kernels][shipped]") {
  CHECK(fitsGateUpFew(2048, 768));  // Qwen3
  CHECK(fitsGateUpFew(7168, 2048)); // DeepSeek-V3
  CHECK(fitsGateUpFew(128, 8));
  CHECK(fitsGateUpFew(8192, 8));
  CHECK_FALSE(fitsGateUpFew(8320, 8));
  CHECK_FALSE(fitsGateUpFew(0, 8));
  CHECK_FALSE(fitsGateUpFew(2880, 2880));
  CHECK_FALSE(fitsGateUpFew(2048, 772));
  CHECK((fitsGateUpFew(2048, kGateUpFewMostN) && !fitsGateUpFew(2048, kGateUpFewMostN + 8)));
  CHECK(uint64_t{kFewPairs + 1} * (kGateUpFewMostN / kGateUpFewColumns) * 900 < uint64_t{1} << 32);
}

TEST_CASE("gateUpFewFp8 has room for its weights, alone and beside blocks of downFewFp8", "[kernels][shipped]") {
  const Result<Nvrtc> nvrtc = Nvrtc::open();
  REQUIRE(nvrtc.ok());
  const auto otherBytes = [&](const ShippedKernel &kernel) { // static, and the 1 KB of each block
    const Result<CompiledUnit> compiled = nvrtc->compile(kernel.unit, {.target = "sm_90a"});
    REQUIRE(compiled.ok());
    return compiled->resources.at(0).staticSharedBytes + 1024;
  };
  const uint32_t own = otherBytes(shippedGateUpFewFp8()), downs = otherBytes(shippedDownFewFp8(kDownFewMostTopK));
  CHECK(kGateUpFewMostSharedBytes + own <= 228u * 1024);
  uint32_t numBeside = 0, numAlone = 0;
  for (uint32_t k = kFp8Block; fitsGateUpFew(k, 8); k += kFp8Block)
    for (uint32_t besideDown = 0; besideDown <= kDownFewFp8MostSharedBytes; besideDown += 4096) {
      CAPTURE(k, besideDown);
      const GateUpFewLaunch launch = gateUpFewRings(k, besideDown);
      const uint32_t bytes = gateUpFewSharedBytes(k, launch.ringBytes), chunks = ceilDivide(k, kGateUpFewChunk);
      CHECK(launch.ringBytes % (kGateUpFewRings * 1024) == 0);
      CHECK(launch.ringBytes / kGateUpFewRings >= kGateUpFewUnits * kGateUpFewLoadBytes); // a slot of each ring
      CHECK(bytes <= kGateUpFewMostSharedBytes);
      CHECK(launch.startAt <= chunks);
      if (besideDown && launch.ringBytes == kGateUpFewSharingRingBytes) {
        CHECK(bytes + own + besideDown + downs <= 228u * 1024);
        ++numBeside;
      } else {
        ++numAlone;
      }
    }
  CHECK((numBeside > 0 && numAlone > 0));
}

TEST_CASE("gateUpFewFp8 leaves room where blocks of downFewFp8 have a multiprocessor each", "[kernels][shipped]") {
  const auto launch = [](bool downIsFew, uint32_t tokens, uint32_t topK, uint32_t intermediate, uint32_t hidden) {
    const GateUpFewLaunch how = gateUpFewLaunch(downIsFew, tokens, topK, intermediate, hidden, 132);
    return std::pair(how.ringBytes / 1024, how.startAt);
  };
  using Pair = std::pair<uint32_t, uint32_t>;
  CHECK(launch(true, 1, 8, 768, 2048) == Pair(96, 6));   // Qwen3: 128 blocks of 103 KB; behind 6 of 8 chunks
  CHECK(launch(false, 1, 8, 768, 2048) == Pair(160, 2)); // down is a product
  CHECK(launch(true, 2, 8, 768, 2048) == Pair(160, 2));  // 256 blocks
  CHECK(launch(true, 1, 8, 1024, 2048) == Pair(160, 2)); // OLMoE: blocks of 137 KB
  CHECK(launch(true, 1, 8, 2048, 7168) == Pair(160, 7)); // DeepSeek-V3: 448 blocks
  CHECK(launch(true, 1, 1, 2048, 7168) == Pair(160, 7)); // one expert a token: 112 blocks of 145 KB
  CHECK(launch(true, 1, 8, 2048, 8192) == Pair(158, 8));
}

TEST_CASE("shared memory of a router's tile fits its multiprocessor", "[kernels][shipped]") {
  for (const char *target : {"sm_80", "sm_90a"})
    for (const RouterGemmConfig &c : shippedRouterGemms(Element::BF16, target))
      CHECK(routerSharedBytes(c) <= (c.wgmma ? 227u * 1024 - 16 * routerStages(c) : 99u * 1024));
}

TEST_CASE("a router has a shipped tile for any number of tokens, by wgmma for many on sm_90a alone",
          "[kernels][shipped]") {
  for (const char *target : {"sm_80", "sm_90", "sm_90a", "sm_100"}) {
    std::set<std::string> shipped;
    for (const RouterGemmConfig &c : shippedRouterGemms(Element::BF16, target))
      shipped.insert(shippedRouterLogits(c).name);
    for (uint32_t experts : {1, 8, 9, 16, 60, 64, 65, 128, 160, 256, 384, 1000}) {
      CAPTURE(target, experts);
      const std::vector<RouterChoice> choices = routerChoices(Element::BF16, experts, target);
      for (size_t i = 1; i < choices.size(); ++i)
        CHECK(choices[i - 1].maxTokens < choices[i].maxTokens);
      CHECK(choices.back().maxTokens == UINT32_MAX);
      CHECK(choices.back().config.wgmma == (target == std::string("sm_90a") && experts > 8));
      for (const RouterChoice &choice : choices)
        CHECK(shipped.contains(shippedRouterLogits(choice.config).name));
    }
  }
}

TEST_CASE("tiles of the router by wgmma are as large as leaves no multiprocessor idle", "[kernels][shipped]") {
  const auto tile = [](uint32_t experts, uint32_t tokens) {
    return shippedRouterLogits(routerGemmFor(Element::BF16, experts, "sm_90a", tokens)).name;
  };
  CHECK(tile(256, 512) == "routerlogits-bf16-32x32");
  CHECK(tile(256, 513) == "routerlogits-bf16-64x64-wgmma");
  CHECK(tile(384, 1408) == "routerlogits-bf16-64x64-wgmma");    // 22 * 6 blocks
  CHECK(tile(256, 1024) == "routerlogits-bf16-64x64-wgmma");    // 16 * 4 blocks
  CHECK(tile(256, 4096) == "routerlogits-bf16-128x64-wgmma");   // 32 * 4 blocks
  CHECK(tile(256, 8192) == "routerlogits-bf16-128x128-wgmma");  // 64 * 2
  CHECK(tile(256, 16384) == "routerlogits-bf16-128x128-wgmma"); // 256: more than run at once
  CHECK(tile(128, 4096) == "routerlogits-bf16-64x64-wgmma");
  CHECK(tile(128, 16384) == "routerlogits-bf16-128x128-wgmma");
  CHECK(tile(32, 4096) == "routerlogits-bf16-64x64-wgmma");
  CHECK(tile(32, 16384) == "routerlogits-bf16-128x64-wgmma");
  CHECK(tile(8, 16384) == "routerlogits-bf16-16x8");
}

TEST_CASE("the planner knows the shared memory of every tile class", "[kernels][shipped]") {
  for (const CudaTile &tile : cudaTileClasses()) {
    const GemmConfig config = gemmConfig(tile, Element::BF16, GemmRole::GateUp);
    CAPTURE(tile.text());
    CHECK(config.tileK == kCudaTileK * (tile.family == GemmFamily::Fitted ? tile.warpsWeights : 1));
    CHECK(sharedBytes(tile) ==
          (tile.family == GemmFamily::Portable ? portableSharedBytes(config) : hopperSharedBytes(config)));
  }
}

TEST_CASE("tiles cut to a smaller shared memory compile without spills", "[kernels][shipped]") {
  const Result<Nvrtc> nvrtc = Nvrtc::open();
  REQUIRE(nvrtc.ok());
  for (const char *target : {"sm_80", "sm_89"}) {
    const Result<TargetFacts> facts = targetByName(target, {});
    REQUIRE(facts.ok());
    std::vector<ShippedKernel> kernels;
    for (const CudaTile &tile : cudaTiles(*facts))
      for (GemmRole role : {GemmRole::GateUp, GemmRole::Down})
        kernels.push_back(shippedGemm(tile.family, gemmConfig(tile, Element::BF16, role)));
    CHECK(compileAll(*nvrtc, kernels, {.target = target}) == std::vector<std::string>{});
  }
}
