// Loading models, and what opening a session takes from the cache.
#include "tests/unit/runtime/FakeKernels.h"
#include "tests/unit/runtime/Harness.h"

#include <filesystem>
#include <fstream>

using namespace moec;
using namespace moec::test;

namespace {

LayerDescription someLayer(uint32_t number = 0) {
  return describeLayer(number, {.hidden = 16, .intermediate = 8, .experts = 4, .topK = 2, .dtype = DType::F32});
}

std::shared_ptr<Compiler> compilerOf(FakeCompiler &fake) {
  Compiler::Options options;
  options.call = fake.call();
  options.buildId = "test";
  return std::make_shared<Compiler>(std::move(options));
}

void writeFile(const std::string &path, std::span<const uint8_t> bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

} // namespace

TEST_CASE("a folder is imported from its config.json and is where weights are expected", "[runtime][model]") {
  TemporaryFolder folder;
  FakeCompiler fake;
  CHECK(Model::load(folder.path(), {.compiler = compilerOf(fake)}).status().code() == Code::NotFound);
  std::ofstream(folder.path() + "/config.json") << ModelDescription{"m", {someLayer(1), someLayer(4)}}.toJson();
  auto model = Model::load(folder.path(), {.compiler = compilerOf(fake)});
  REQUIRE(model.ok());
  CHECK((*model)->folder() == folder.path());
  CHECK((*model)->layers().size() == 2);
  CHECK((*model)->find(4) != nullptr);
  CHECK((*model)->find(2) == nullptr);
  CHECK(fake.others == 2); // import, describe
  CHECK(Model::load(folder.path(), {.compiler = compilerOf(fake), .layers = 1}).ok());
}

TEST_CASE("that a folder's weights are to be plain goes to the importer, and is another answer in the cache",
          "[runtime][model]") {
  TemporaryFolder folder, cacheFolder;
  std::ofstream(folder.path() + "/config.json") << ModelDescription{"m", {someLayer()}}.toJson();
  auto store = CacheStore::open(cacheFolder.path());
  REQUIRE(store.ok());
  FakeCompiler fake;
  Compiler::Options options;
  std::vector<std::string> requests;
  options.cache = std::make_shared<CacheStore>(std::move(*store));
  options.buildId = "test";
  options.call = [&requests, call = fake.call()](const char *verb, std::span<const uint8_t> request,
                                                 const MoecCompilerCallbacks &callbacks) {
    if (std::string(verb) == "import")
      requests.emplace_back(request.begin(), request.end());
    return call(verb, request, callbacks);
  };
  auto compiler = std::make_shared<Compiler>(std::move(options));
  for (bool plain : {false, true, false, true})
    REQUIRE(Model::load(folder.path(), {.compiler = compiler, .plainWeights = plain}).ok());
  REQUIRE(requests.size() == 2);
  CHECK(requests[0].find("\"plain_weights\":false") != std::string::npos);
  CHECK(requests[1].find("\"plain_weights\":true") != std::string::npos);
}

TEST_CASE("a description that cannot be run is refused by name", "[runtime][model]") {
  TemporaryFolder folder;
  FakeCompiler fake;
  LayerDescription layer = someLayer(6);
  layer.shape.topK = 5;
  std::ofstream(folder.path() + "/m.mlir") << ModelDescription{"m", {layer}}.toJson();
  Status status = Model::load(folder.path() + "/m.mlir", {.compiler = compilerOf(fake)}).status();
  CHECK(status.code() == Code::InvalidModel);
  CHECK(status.message().find("layer 6: top-k 5 of 4 experts") != std::string::npos);
}

TEST_CASE("a package serves a session without any compile, and a damaged one is refused", "[runtime][model]") {
  TemporaryFolder folder;
  FakeCompiler fake, never;
  auto source = makeModel(fake, {someLayer()});
  CompileRequest request;
  request.model = source->text();
  request.target = {.name = "cpu-avx2", .isa = CpuIsa::Avx2, .threads = 2};
  request.calibration = Calibration::assumed(request.target, DType::F32);
  auto compiled = compilerOf(fake)->compile(request);
  REQUIRE(compiled.ok());
  std::vector<uint8_t> bytes = compiled->package.serialise();
  writeFile(folder.path() + "/m.moecpkg", bytes);

  auto model = Model::load(folder.path() + "/m.moecpkg", {.compiler = compilerOf(never)});
  INFO(model.status().message());
  REQUIRE(model.ok());
  SessionOptions options = fakeOptions(std::make_shared<MadeUpWeights>());
  options.mode = Mode::Strict;
  auto session = Session::open(*model, options);
  INFO(session.status().message());
  REQUIRE(session.ok());
  CHECK(session->host().genericConfig(0) == compiled->package.layers[0].plan.config);
  CHECK(never.compiles + never.others == 0);

  bytes[bytes.size() / 2] ^= 1;
  writeFile(folder.path() + "/m.moecpkg", bytes);
  CHECK(Model::load(folder.path() + "/m.moecpkg", {.compiler = compilerOf(never)}).status().code() ==
        Code::CacheCorrupt);
}

TEST_CASE("a calibration is measured once and then comes from the cache", "[runtime][calibrate]") {
  TemporaryFolder folder;
  auto store = CacheStore::open(folder.path());
  REQUIRE(store.ok());
  auto cache = std::make_shared<CacheStore>(std::move(*store));
  auto once = [](SessionOptions &options) { options.calibrationSource = CalibrationSource::Once; };
  Harness first({someLayer()}, once, cache);
  const Calibration measured = first.session->host().calibration();
  CHECK(measured.measured);
  const uint32_t tallest = first.session->host().facts().maxTileRows();
  for (uint32_t rows = 1; rows <= tallest; ++rows)
    CHECK(measured.tileNsPerStep[rows] > 0);
  CHECK(measured.tileNsPerStep[tallest] > measured.tileNsPerStep[1]); // fake kernels take their rows one by one
  for (double ns : {measured.streamNsPerByte, measured.packNsPerByte, measured.copyNsPerByte, measured.sectionNs})
    CHECK(ns > 0);
  CHECK(measured.overlap >= 0);
  CHECK(measured.overlap <= 1);
  CHECK(first.compiler.compiles == 2); // for calibrating, and generation 0

  Harness second({someLayer()}, once, cache);
  CHECK(second.session->host().calibration().toJson() == measured.toJson());
  CHECK(second.compiler.compiles == 0);
}

TEST_CASE("options and layers that make no sense are refused by name", "[runtime][model]") {
  FakeCompiler fake;
  auto model = makeModel(fake, {someLayer(3)});
  auto refused = [&](auto change) {
    SessionOptions options = fakeOptions(std::make_shared<MadeUpWeights>());
    change(options);
    return Session::open(model, options).status().message();
  };
  CHECK(refused([](SessionOptions &o) { o.maxTokens = 0; }) == "maxTokens is 0, it must be 1 to 1048576");
  CHECK(refused([](SessionOptions &o) { o.layers = {3, 9}; }) == "the model has no MoE layer 9");
  CHECK(refused([](SessionOptions &o) { o.weightSource = nullptr; }).find("say where its weights are") !=
        std::string::npos);
  CHECK(refused([](SessionOptions &o) { o.device = "tpu"; }).find("tpu") != std::string::npos);
}
