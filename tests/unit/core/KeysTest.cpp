#include "compiler/core/Keys.h"
#include "tests/unit/Catch.h"

#include <functional>
#include <set>

using namespace moec;

namespace {

template <typename Key> using Change = std::function<void(Key &)>;

/// Each change alone, and all pairs of results: every text and digest is another one.
template <typename Key> void checkAllDiffer(const Key &key, const std::vector<Change<Key>> &changes) {
  std::set<std::string> digests{digest(key.text())};
  for (const Change<Key> &change : changes) {
    Key changed = key;
    change(changed);
    CAPTURE(changed.text());
    CHECK(digests.insert(digest(changed.text())).second);
  }
}

const RequestKey request{"model", "target", "limits", "calibration", "profile", "build"};
const ArtefactKey artefact{"config", "shape", "activation", "codegen", "features", 7};

} // namespace

TEST_CASE("a digest is the XXH3-128 that xxh128sum prints", "[core][keys]") {
  CHECK(digest(std::string()) == "99aa06d3014798d86001c324468d497f"); // the empty input's, as published by xxHash
  CHECK(digest("a").size() == 32);
  CHECK(digest("a") != digest("b"));
  CHECK(digest(std::string("a\0", 2)) != digest("a"));
}

TEST_CASE("equal keys have equal texts", "[core][keys]") {
  RequestKey copy = request;
  CHECK(copy.text() == request.text());
  ArtefactKey other = artefact;
  CHECK(other.text() == artefact.text());
}

TEST_CASE("each input of a request key alone makes another key", "[core][keys]") {
  std::vector<Change<RequestKey>> changes;
  for (auto field : {&RequestKey::modelDigest, &RequestKey::target, &RequestKey::limits, &RequestKey::calibration,
                     &RequestKey::profile, &RequestKey::buildId})
    for (const char *value : {"", "other", "two\nlines", "two\\nlines", "trailing "})
      changes.push_back([=](RequestKey &key) { key.*field = value; });
  CHECK(changes.size() == 30);
  checkAllDiffer(request, changes);
}

TEST_CASE("each input of an artefact key alone makes another key", "[core][keys]") {
  std::vector<Change<ArtefactKey>> changes;
  for (auto field : {&ArtefactKey::config, &ArtefactKey::shape, &ArtefactKey::activation, &ArtefactKey::codegen,
                     &ArtefactKey::cpuFeatures})
    for (const char *value : {"", "other", "two\nlines", "two\\nlines", "trailing "})
      changes.push_back([=](ArtefactKey &key) { key.*field = value; });
  changes.push_back([](ArtefactKey &key) { key.abiVersion = 99; });
  checkAllDiffer(artefact, changes);
}

TEST_CASE("a field cannot pretend to be the next one", "[core][keys]") {
  RequestKey forged = request;
  forged.modelDigest = "model\ntarget: target";
  forged.target = "";
  CHECK(forged.text() != request.text());
  // A title, six fields: seven lines, whatever the values contain.
  auto lines = [](const std::string &text) { return std::count(text.begin(), text.end(), '\n'); };
  CHECK(lines(forged.text()) == 7);
  CHECK(lines(artefact.text()) == 7);
}

TEST_CASE("the two kinds of key never meet", "[core][keys]") {
  CHECK(digest(RequestKey{}.text()) != digest(ArtefactKey{}.text()));
}

TEST_CASE("size classes are exact below 16, then eighths of a power of two, rounded up", "[core][keys]") {
  for (uint32_t pairs = 0; pairs <= 16; ++pairs)
    CHECK(sizeClass(pairs) == pairs);
  CHECK(sizeClass(17) == 18);
  CHECK(sizeClass(31) == 32);
  CHECK(sizeClass(33) == 36);
  CHECK(sizeClass(100) == 104);
  CHECK(sizeClass(1025) == 1152);
  CHECK(sizeClass(UINT32_MAX) == UINT32_MAX);
  uint32_t last = 0;
  for (uint32_t pairs = 0; pairs < 100000; ++pairs) {
    uint32_t rounded = sizeClass(pairs);
    REQUIRE(rounded >= pairs);
    REQUIRE(rounded <= pairs + pairs / 8);
    REQUIRE(rounded >= last);
    REQUIRE(sizeClass(rounded) == rounded);
    last = rounded;
  }
}

TEST_CASE("a drift that returns finds its key, another one does not", "[core][keys]") {
  Histogram first{1000, {400, 300, 300}}, again{1010, {405, 301, 305}}, other{1000, {300, 400, 300}};
  CHECK(keyText(first) == keyText(again));
  CHECK(keyText(first) != keyText(other));
  CHECK(keyText(roundToSizeClasses(first)) == keyText(first));
  CHECK(roundToSizeClasses(first).pairs == std::vector<uint32_t>{416, 320, 320});
}

TEST_CASE("each target fact and each limit alone makes another text", "[core][keys]") {
  const TargetFacts facts;
  std::set<std::string> texts{keyText(facts)};
  for (Change<TargetFacts> change :
       std::vector<Change<TargetFacts>>{[](auto &f) { f.name = "other"; }, [](auto &f) { f.isa = CpuIsa::Avx512; },
                                        [](auto &f) { f.threads = 2; }, [](auto &f) { f.l2Bytes = 1; }}) {
    TargetFacts changed = facts;
    change(changed);
    CHECK(texts.insert(keyText(changed)).second);
  }
  TargetFacts gpu;
  gpu.device = DeviceKind::Cuda;
  texts = {keyText(facts), keyText(gpu)};
  CHECK(texts.size() == 2);
  for (Change<TargetFacts> change : std::vector<Change<TargetFacts>>{
           [](auto &f) { f.name = "other"; }, [](auto &f) { f.arch = "sm_90a"; }, [](auto &f) { f.gpu.model = "H200"; },
           [](auto &f) { f.gpu.multiprocessors = 1; }, [](auto &f) { f.gpu.sharedBytesPerBlock = 1; },
           [](auto &f) { f.gpu.l2Bytes = 1; }, [](auto &f) { f.gpu.memoryBytesPerNs = 1; },
           [](auto &f) { f.gpu.matrixFlopsPerNs = 1; }}) {
    TargetFacts changed = gpu;
    change(changed);
    CHECK(texts.insert(keyText(changed)).second);
  }
  const PlanLimits limits;
  texts = {keyText(limits)};
  for (Change<PlanLimits> change : std::vector<Change<PlanLimits>>{
           [](auto &l) { l.maxTileHeights = 4; }, [](auto &l) { l.packBudgetBytes = 1; },
           [](auto &l) { l.slotHeadroom = 1.2500000000000002; }, [](auto &l) { l.slotAlign = 16; }}) {
    PlanLimits changed = limits;
    change(changed);
    CHECK(texts.insert(keyText(changed)).second);
  }
}
