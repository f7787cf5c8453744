#include "runtime/weights/Convert.h"
#include "runtime/weights/WeightSource.h"
#include "tests/unit/Catch.h"
#include "tests/unit/weights/Files.h"

#include <algorithm>
#include <array>
#include <thread>

using namespace moec;
using namespace moec::test;
using Catch::Matchers::Contains;

namespace {

enum class Arrangement { PerExpert, Straight, Transposed, Interleaved };

/// The experts of one layer, with values that tell role, expert, row and column apart and are exact in all dtypes.
class Layer {
public:
  Layer(int64_t experts, int64_t hidden, int64_t intermediate) : E(experts), H(hidden), I(intermediate) {}

  float gate(int64_t e, int64_t i, int64_t h) const { return value(0, e, i * H + h); }
  float up(int64_t e, int64_t i, int64_t h) const { return value(1, e, i * H + h); }
  float down(int64_t e, int64_t h, int64_t i) const { return value(2, e, h * I + i); }

  /// Adds the layer's tensors below `experts`, e.g. "m.experts", with those names for the roles' parts.
  void addTo(std::vector<std::pair<OutputTensor, std::vector<std::byte>>> &file, Arrangement arrangement, DType dtype,
             const std::string &experts,
             std::array<std::string, 3> roles = {"gate_proj", "up_proj", "down_proj"}) const {
    auto add = [&](std::string name, std::vector<int64_t> shape, auto element) {
      std::vector<float> values(static_cast<size_t>(product(shape)));
      for (size_t n = 0; n < values.size(); ++n)
        values[n] = element(static_cast<int64_t>(n));
      std::vector<std::byte> data(values.size() * byteSize(dtype));
      convert(values.data(), DType::F32, data.data(), dtype, values.size());
      file.push_back({{std::move(name), dtype, std::move(shape), {}}, std::move(data)});
    };
    if (arrangement == Arrangement::PerExpert) {
      for (int64_t e = 0; e < E; ++e) {
        std::string prefix = experts + "." + std::to_string(e) + ".";
        add(prefix + roles[0] + ".weight", {I, H}, [&](int64_t n) { return gate(e, n / H, n % H); });
        add(prefix + roles[1] + ".weight", {I, H}, [&](int64_t n) { return up(e, n / H, n % H); });
        add(prefix + roles[2] + ".weight", {H, I}, [&](int64_t n) { return down(e, n / I, n % I); });
        for (int64_t role = 0; role < 3; ++role)
          add(prefix + roles[static_cast<size_t>(role)] + ".bias", {role == 2 ? H : I},
              [&](int64_t n) { return bias(role, e, n); });
      }
      return;
    }
    const std::string gateUpName = experts + ".gate_up_proj", downName = experts + ".down_proj";
    if (arrangement == Arrangement::Straight) {
      add(gateUpName, {E, 2 * I, H}, [&](int64_t n) {
        int64_t e = n / (2 * I * H), row = n / H % (2 * I), h = n % H;
        return row < I ? gate(e, row, h) : up(e, row - I, h);
      });
      add(downName, {E, H, I}, [&](int64_t n) { return down(n / (H * I), n / I % H, n % I); });
      return;
    }
    bool interleaved = arrangement == Arrangement::Interleaved;
    add(gateUpName, {E, H, 2 * I}, [&](int64_t n) {
      int64_t e = n / (2 * I * H), h = n / (2 * I) % H, col = n % (2 * I);
      bool isUp = interleaved ? col % 2 == 1 : col >= I;
      int64_t i = interleaved ? col / 2 : col % I;
      return isUp ? up(e, i, h) : gate(e, i, h);
    });
    add(downName, {E, I, H}, [&](int64_t n) { return down(n / (H * I), n % H, n / H % I); });
    if (!interleaved)
      return;
    add(gateUpName + "_bias", {E, 2 * I}, [&](int64_t n) { return bias(n % 2, n / (2 * I), n % (2 * I) / 2); });
    add(downName + "_bias", {E, H}, [&](int64_t n) { return bias(2, n / H, n % H); });
  }
  /// Of gate (0), up (1) or down (2).
  float bias(int64_t role, int64_t e, int64_t n) const { return value(role + 3, e, n) - 12; }

  const int64_t E, H, I;

private:
  static int64_t product(const std::vector<int64_t> &shape) {
    int64_t result = 1;
    for (int64_t dim : shape)
      result *= dim;
    return result;
  }
  /// Distinct within a matrix (all have fewer than 101 elements, and 101 is prime), and shifted for each role and
  /// expert. 7 bits, so exact in bf16.
  float value(int64_t role, int64_t e, int64_t n) const {
    return static_cast<float>((n * 7 + role * 31 + e * 13) % 101) * 0.25f;
  }
};

using File = std::vector<std::pair<OutputTensor, std::vector<std::byte>>>;

std::string save(const TempFolder &folder, File &file) {
  std::vector<OutputTensor> tensors;
  for (auto &[tensor, data] : file) {
    tensor.data = data;
    tensors.push_back(tensor);
  }
  REQUIRE(writeSafetensors(folder / "w.safetensors", tensors).ok());
  return folder / "w.safetensors";
}

WeightRef gateRef(const Layer &layer, const std::string &name) { return {name, {layer.E, layer.I, layer.H}}; }
WeightRef downRef(const Layer &layer, const std::string &name) { return {name, {layer.E, layer.H, layer.I}}; }

std::vector<float> readF32(const WeightSource &source, const WeightRef &ref, uint32_t expert) {
  std::vector<float> values(*numPartElements(ref));
  Status status = source.read(ref, expert, DType::F32, std::as_writable_bytes(std::span(values)));
  INFO(status.message());
  REQUIRE(status.ok());
  return values;
}

/// All matrices of all experts are what the layer says, whatever dtype they are asked for in.
void checkLayer(const WeightSource &source, const Layer &layer, const std::string &experts,
                std::array<std::string, 3> roles = {"gate_proj", "up_proj", "down_proj"}) {
  WeightRef gate = gateRef(layer, experts + ".{e}." + roles[0] + ".weight");
  WeightRef up = gateRef(layer, experts + ".{e}." + roles[1] + ".weight");
  WeightRef down = downRef(layer, experts + ".{e}." + roles[2] + ".weight");
  for (const WeightRef *ref : {&gate, &up, &down})
    CHECK(source.check(*ref).ok());
  for (int64_t e = 0; e < layer.E; ++e) {
    std::vector<float> g = readF32(source, gate, e), u = readF32(source, up, e), d = readF32(source, down, e);
    for (int64_t i = 0; i < layer.I; ++i)
      for (int64_t h = 0; h < layer.H; ++h) {
        REQUIRE(g[i * layer.H + h] == layer.gate(e, i, h));
        REQUIRE(u[i * layer.H + h] == layer.up(e, i, h));
        REQUIRE(d[h * layer.I + i] == layer.down(e, h, i));
      }
    std::vector<uint16_t> brain(u.size());
    REQUIRE(source.read(up, e, DType::BF16, std::as_writable_bytes(std::span(brain))).ok());
    for (size_t n = 0; n < u.size(); ++n)
      REQUIRE(bf16ToF32(brain[n]) == u[n]);
  }
}

std::unique_ptr<WeightSource> open(const std::string &path, ReadMode mode = ReadMode::Map) {
  Result<std::unique_ptr<WeightSource>> source = openWeights(path, mode);
  INFO(source.status().message());
  REQUIRE(source);
  return std::move(*source);
}

Status readStatus(const WeightSource &source, const WeightRef &ref, uint32_t expert = 0) {
  std::vector<float> values(*numPartElements(ref));
  return source.read(ref, expert, DType::F32, std::as_writable_bytes(std::span(values)));
}

} // namespace

TEST_CASE("per-expert and all fused arrangements give the same matrices", "[weights][source]") {
  // 35 columns of a transposed matrix: more than one block of columns, and a rest.
  const Layer layer(3, 35, 2);
  for (Arrangement arrangement :
       {Arrangement::PerExpert, Arrangement::Straight, Arrangement::Transposed, Arrangement::Interleaved})
    for (DType stored : {DType::F32, DType::BF16, DType::F16})
      for (ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
        TempFolder folder;
        File file;
        layer.addTo(file, arrangement, stored, "model.layers.0.mlp.experts");
        checkLayer(*open(save(folder, file), mode), layer, "model.layers.0.mlp.experts");
      }
}

TEST_CASE("Mixtral's hub names find its own layout and both fused ones", "[weights][source]") {
  const Layer layer(2, 4, 3);
  const std::array<std::string, 3> names = {"w1", "w3", "w2"};
  TempFolder folder;
  File file;
  SECTION("w1, w3, w2 per expert") {
    layer.addTo(file, Arrangement::PerExpert, DType::BF16, "l.block_sparse_moe.experts", names);
  }
  SECTION("fused below mlp") { layer.addTo(file, Arrangement::Straight, DType::BF16, "l.mlp.experts"); }
  SECTION("fused below block_sparse_moe") {
    layer.addTo(file, Arrangement::Straight, DType::BF16, "l.block_sparse_moe.experts");
  }
  checkLayer(*open(save(folder, file)), layer, "l.block_sparse_moe.experts", names);
}

TEST_CASE("a renamed Mixtral router is found below mlp", "[weights][source]") {
  TempFolder folder;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  File file = {{{"l.mlp.gate.weight", DType::F32, {2, 3}, {}}, {}}};
  file[0].second.assign(bytesOf(values).begin(), bytesOf(values).end());
  auto source = open(save(folder, file));
  CHECK(readF32(*source, {"l.block_sparse_moe.gate.weight", {2, 3}}, 0) == values);
}

TEST_CASE("a square down_proj follows the orientation of its gate_up_proj", "[weights][source]") {
  // gpt-oss has H = I: the shape of down_proj alone cannot tell.
  const Layer layer(2, 4, 4);
  for (Arrangement arrangement : {Arrangement::Straight, Arrangement::Transposed, Arrangement::Interleaved}) {
    TempFolder folder;
    File file;
    layer.addTo(file, arrangement, DType::BF16, "m.experts");
    checkLayer(*open(save(folder, file)), layer, "m.experts");
  }
}

TEST_CASE("biases are found per expert and as gpt-oss fuses them", "[weights][source]") {
  const Layer layer(3, 5, 7);
  const std::string experts = "m.mlp.experts";
  const std::array<std::string, 3> roles = {"gate_proj", "up_proj", "down_proj"};
  for (Arrangement arrangement : {Arrangement::PerExpert, Arrangement::Interleaved})
    for (DType stored : {DType::F32, DType::BF16})
      for (ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
        TempFolder folder;
        File file;
        layer.addTo(file, arrangement, stored, experts);
        auto source = open(save(folder, file), mode);
        for (int64_t role = 0; role < 3; ++role) {
          const int64_t columns = role == 2 ? layer.H : layer.I;
          const WeightRef ref{experts + ".{e}." + roles[role] + ".bias", {layer.E, columns}};
          CHECK(source->check(ref).ok());
          for (int64_t e = 0; e < layer.E; ++e) {
            const std::vector<float> values = readF32(*source, ref, e);
            for (int64_t n = 0; n < columns; ++n)
              REQUIRE(values[n] == layer.bias(role, e, n));
          }
        }
      }
}

TEST_CASE("a fused bias of the wrong shape is refused, and so is a missing one", "[weights][source]") {
  const Layer layer(3, 5, 7);
  TempFolder folder;
  File file;
  layer.addTo(file, Arrangement::Interleaved, DType::F32, "m.experts");
  auto source = open(save(folder, file));
  const auto says = [&](const WeightRef &ref, const std::string &what) {
    return readStatus(*source, ref).message().find(what) != std::string::npos;
  };
  CHECK(says({"m.experts.{e}.gate_proj.bias", {3, 8}}, "w.safetensors': expected shape [3, 16], found [3, 14]"));
  CHECK(says({"m.experts.{e}.down_proj.bias", {2, 5}}, "tensor 'm.experts.down_proj_bias' in"));
  CHECK(says({"m.experts.{e}.down_proj.bias", {2, 5}}, "w.safetensors': expected shape [2, 5], found [3, 5]"));
  CHECK(says({"n.experts.{e}.up_proj.bias", {3, 7}}, "has no tensor 'n.experts.0.up_proj.bias'"));
}

TEST_CASE("a square gate_up_proj follows the orientation of its down_proj", "[weights][source]") {
  const Layer layer(2, 6, 3); // 2I = H
  for (Arrangement arrangement : {Arrangement::Straight, Arrangement::Transposed, Arrangement::Interleaved}) {
    TempFolder folder;
    File file;
    layer.addTo(file, arrangement, DType::BF16, "m.experts");
    checkLayer(*open(save(folder, file)), layer, "m.experts");
  }
}

TEST_CASE("a square tensor whose other half is missing is taken as straight", "[weights][source]") {
  const Layer layer(2, 4, 4);
  TempFolder folder;
  File file;
  layer.addTo(file, Arrangement::Straight, DType::F32, "m.experts");
  file.erase(file.begin()); // gate_up_proj
  auto source = open(save(folder, file));
  CHECK(readF32(*source, downRef(layer, "m.experts.{e}.down_proj.weight"), 1)[1] == layer.down(1, 0, 1));
}

TEST_CASE("a view is given for straight matrices in the wanted dtype, and nothing else", "[weights][source]") {
  const Layer layer(3, 4, 5);
  const WeightRef up = gateRef(layer, "m.experts.{e}.up_proj.weight");
  for (Arrangement arrangement : {Arrangement::PerExpert, Arrangement::Straight, Arrangement::Transposed}) {
    TempFolder folder;
    File file;
    layer.addTo(file, arrangement, DType::BF16, "m.experts");
    std::string path = save(folder, file);
    auto source = open(path);
    CHECK(source->view(up, 0, DType::F32) == nullptr);
    CHECK(source->view(up, 3, DType::BF16) == nullptr); // no such expert
    CHECK(source->view(gateRef(layer, "m.experts.{e}.other"), 0, DType::BF16) == nullptr);
    CHECK(open(path, ReadMode::Pread)->view(up, 0, DType::BF16) == nullptr);
    const auto *view = static_cast<const uint16_t *>(source->view(up, 2, DType::BF16));
    REQUIRE((view != nullptr) == (arrangement != Arrangement::Transposed));
    for (int64_t n = 0; view && n < layer.I * layer.H; ++n)
      REQUIRE(bf16ToF32(view[n]) == layer.up(2, n / layer.H, n % layer.H));
  }
}

TEST_CASE("a misaligned tensor is read, but not viewed", "[weights][source]") {
  TempFolder folder;
  // 57 bytes of JSON behind the 8 of the length: the data begins at an odd address.
  std::string json = R"({"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}} )";
  json.resize(57, ' ');
  auto source = open(folder.write("w.safetensors", safetensors(json, 4)));
  const WeightRef ref{"a", {2}};
  CHECK(source->view(ref, 0, DType::BF16) == nullptr);
  std::vector<uint16_t> values(2);
  REQUIRE(source->read(ref, 0, DType::BF16, std::as_writable_bytes(std::span(values))).ok());
  CHECK(values == std::vector<uint16_t>{0x0100, 0x0302}); // bytes 0 1 2 3
}

TEST_CASE("a large tensor is converted whole, though in pieces", "[weights][source]") {
  // 300,001 elements: two pieces of 128 Ki and a rest. Element n is n mod 251, so equal pieces would show.
  TempFolder folder;
  std::vector<float> values(300'001);
  for (size_t n = 0; n < values.size(); ++n)
    values[n] = static_cast<float>(n % 251);
  File file = {{{"a", DType::F32, {300'001}, {}}, {}}};
  file[0].second.assign(bytesOf(values).begin(), bytesOf(values).end());
  std::string path = save(folder, file);
  for (ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
    std::vector<uint16_t> brain(values.size()), expected(values.size());
    REQUIRE(open(path, mode)->read({"a", {300'001}}, 0, DType::BF16, std::as_writable_bytes(std::span(brain))).ok());
    std::transform(values.begin(), values.end(), expected.begin(), f32ToBf16);
    CHECK((brain == expected));
  }
}

TEST_CASE("a missing tensor is named, with the fused name that was tried", "[weights][source]") {
  const Layer layer(2, 4, 3);
  TempFolder folder;
  File file;
  layer.addTo(file, Arrangement::PerExpert, DType::BF16, "m.experts");
  auto source = open(save(folder, file));
  Status status = readStatus(*source, {"x.gate.weight", {2, 4}});
  CHECK(status.code() == Code::InvalidModel);
  CHECK_THAT(status.message(), Contains("has no tensor 'x.gate.weight'"));
  Status fused = readStatus(*source, gateRef(layer, "x.experts.{e}.up_proj.weight"), 1);
  CHECK(fused.code() == Code::InvalidModel);
  CHECK_THAT(fused.message(), Contains("has no tensor 'x.experts.1.up_proj.weight', nor 'x.experts.gate_up_proj'"));
  // One expert short: check finds it without reading.
  WeightRef more{"m.experts.{e}.up_proj.weight", {3, 3, 4}};
  CHECK_THAT(source->check(more).message(), Contains("'m.experts.2.up_proj.weight'"));
}

TEST_CASE("a tensor of another shape is named with the expected and the found shape", "[weights][source]") {
  const Layer layer(2, 4, 3);
  TempFolder folder;
  File file;
  layer.addTo(file, Arrangement::PerExpert, DType::BF16, "m.experts");
  layer.addTo(file, Arrangement::Straight, DType::BF16, "f.experts");
  auto source = open(save(folder, file));
  Status status = readStatus(*source, {"m.experts.{e}.up_proj.weight", {2, 3, 5}});
  CHECK(status.code() == Code::InvalidModel);
  CHECK_THAT(status.message(),
             Contains("'m.experts.0.up_proj.weight'") && Contains("expected shape [3, 5], found [3, 4]"));
  Status fused = readStatus(*source, {"f.experts.{e}.down_proj.weight", {2, 5, 3}});
  CHECK(fused.code() == Code::InvalidModel);
  CHECK_THAT(fused.message(),
             Contains("'f.experts.down_proj'") && Contains("expected shape [2, 5, 3] or [2, 3, 5], found [2, 4, 3]"));
  // More experts in the file than the model has: not the same model.
  CHECK(readStatus(*source, {"f.experts.{e}.down_proj.weight", {1, 4, 3}}).code() == Code::InvalidModel);
}

TEST_CASE("a dtype that is not computed with is named when the tensor is used, not before", "[weights][source]") {
  TempFolder folder;
  auto source =
      open(folder.write("w", safetensors(R"({"a":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[0,4]}})", 4)));
  Status status = readStatus(*source, {"a", {4}});
  CHECK(status.code() == Code::InvalidModel);
  CHECK_THAT(status.message(),
             Contains("tensor 'a' has dtype F8_E5M2: expected F32, BF16, F16, or a matrix in rows as F8_E4M3"));
}

TEST_CASE("a request that fits no part is InvalidArgument", "[weights][source]") {
  const Layer layer(2, 4, 3);
  TempFolder folder;
  File file;
  layer.addTo(file, Arrangement::Straight, DType::F32, "m.experts");
  auto source = open(save(folder, file));
  WeightRef ref = gateRef(layer, "m.experts.{e}.up_proj.weight");
  std::vector<std::byte> room(12 * 4);
  CHECK(source->read(ref, 1, DType::F32, room).ok());
  CHECK(source->read(ref, 2, DType::F32, room).code() == Code::InvalidArgument);
  CHECK(source->read(ref, 1, DType::BF16, room).code() == Code::InvalidArgument); // twice the room it takes
  CHECK(source->read({"m.experts.gate_up_proj", {2, 6, 4}}, 1, DType::F32, room).code() == Code::InvalidArgument);
  CHECK(source->read({"", {3, 4}}, 0, DType::F32, room).code() == Code::InvalidArgument);
  CHECK(source->check({"x.{e}", {}}).code() == Code::InvalidArgument);
  CHECK(source->check({"x.{e}", {int64_t(1) << 40, 2}}).code() == Code::InvalidArgument);
  CHECK(source->check({"x", {int64_t(1) << 40, int64_t(1) << 40}}).code() == Code::InvalidArgument);
  CHECK(source->check({"x", {-2, -2}}).code() == Code::InvalidArgument);
}

TEST_CASE("threads may read at once, in both modes", "[weights][source]") {
  const Layer layer(4, 9, 8);
  for (ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
    TempFolder folder;
    File file;
    layer.addTo(file, Arrangement::Interleaved, DType::BF16, "m.experts");
    auto source = open(save(folder, file), mode);
    const WeightRef ref = gateRef(layer, "m.experts.{e}.up_proj.weight");
    std::array<bool, 4> right = {};
    std::vector<std::thread> threads;
    for (uint32_t e = 0; e < 4; ++e)
      threads.emplace_back([&, e] {
        std::vector<float> values(8 * 9);
        right[e] = true;
        for (int repeat = 0; repeat < 50; ++repeat) {
          right[e] = right[e] && source->read(ref, e, DType::F32, std::as_writable_bytes(std::span(values))).ok();
          for (int64_t n = 0; n < 72; ++n)
            right[e] = right[e] && values[n] == layer.up(e, n / 9, n % 9);
        }
      });
    for (std::thread &thread : threads)
      thread.join();
    CHECK(right == std::array<bool, 4>{true, true, true, true});
  }
}

TEST_CASE("weights that cannot be opened say so", "[weights][source]") {
  TempFolder folder;
  Result<std::unique_ptr<WeightSource>> source = openWeights(folder / "nothing");
  REQUIRE_FALSE(source);
  CHECK(source.status().code() == Code::NotFound);
  CHECK_THAT(source.status().message(), Contains("opening weights") && Contains("nothing"));
}
