#include "runtime/weights/Checkpoint.h"
#include "tests/unit/Catch.h"
#include "tests/unit/weights/Files.h"

#include <iterator>

#include <sys/stat.h>
#include <unistd.h>

using namespace moec;
using namespace moec::test;
namespace fs = std::filesystem;

namespace {

std::string contentOf(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

size_t numEntries(const TempFolder &folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()));
}

} // namespace

TEST_CASE("what is written is read back: names, shapes, dtypes, data, metadata", "[weights][writer]") {
  TempFolder folder;
  const std::vector<float> wide = {1.5f, -2.0f, 3.25f, 0.0f, 7.0f, 8.0f};
  const std::vector<uint16_t> narrow = {1, 2, 3};
  const std::vector<OutputTensor> tensors = {
      {"half", DType::F16, {3}, bytesOf(narrow)},
      {"odd \"name\" \n", DType::F32, {2, 3}, bytesOf(wide)},
      {"scalar", DType::F32, {}, bytesOf(wide).first(4)},
      {"none", DType::BF16, {0, 5}, {}},
  };
  REQUIRE(writeSafetensors(folder / "out.safetensors", tensors, {{"format", "pt"}}).ok());
  for (ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
    Result<SafetensorsFile> file = SafetensorsFile::open(folder / "out.safetensors", mode);
    REQUIRE(file);
    CHECK(file->header().metadata.at("format") == "pt");
    CHECK(file->header().tensors.size() == tensors.size());
    for (const OutputTensor &tensor : tensors) {
      const TensorInfo *info = file->find(tensor.name);
      REQUIRE(info);
      CHECK(info->type == tensorTypeOf(tensor.dtype));
      CHECK(info->shape == tensor.shape);
      std::vector<std::byte> content(info->end - info->begin);
      REQUIRE(file->read(*info, 0, content).ok());
      CHECK(std::equal(content.begin(), content.end(), tensor.data.begin(), tensor.data.end()));
    }
  }
  CHECK(numEntries(folder) == 1); // no temporary stays
}

TEST_CASE("tensors lie by descending alignment behind a header of a multiple of 8 bytes", "[weights][writer]") {
  TempFolder folder;
  const std::vector<uint16_t> narrow = {1};
  const std::vector<float> wide = {1, 2};
  const std::vector<OutputTensor> tensors = {{"a", DType::BF16, {1}, bytesOf(narrow)},
                                             {"c", DType::F32, {1}, bytesOf(wide).first(4)},
                                             {"b", DType::F32, {2}, bytesOf(wide)}};
  REQUIRE(writeSafetensors(folder / "out", tensors).ok());
  Result<SafetensorsFile> file = SafetensorsFile::open(folder / "out", ReadMode::Map);
  REQUIRE(file);
  CHECK(file->find("b")->begin == 0);
  CHECK(file->find("c")->begin == 8);
  CHECK(file->find("a")->begin == 12);
  CHECK(reinterpret_cast<uintptr_t>(file->bytes(*file->find("b")).data()) % 8 == 0);
}

TEST_CASE("tensors that cannot be written are refused, and nothing changes", "[weights][writer]") {
  TempFolder folder;
  const std::string path = folder.write("out", "old");
  const std::vector<float> data = {1, 2};
  auto refuses = [&](std::vector<OutputTensor> tensors, const std::string &why) {
    Status status = writeSafetensors(path, tensors);
    CHECK(status.code() == Code::InvalidArgument);
    CHECK_THAT(status.message(), Catch::Matchers::Contains(why));
    CHECK(contentOf(path) == "old");
    CHECK(numEntries(folder) == 1);
  };
  OutputTensor good{"a", DType::F32, {2}, bytesOf(data)};
  refuses({good, good}, "'a' is reserved or given twice");
  refuses({{"__metadata__", DType::F32, {2}, bytesOf(data)}}, "'__metadata__' is reserved");
  refuses({{"a", DType::F32, {3}, bytesOf(data)}}, "shape [3] of f32 does not fit its 8 bytes");
  refuses({{"a", DType::F32, {-1, -2}, bytesOf(data)}}, "shape [-1, -2] of f32 does not fit");
  refuses({{"\xff", DType::F32, {2}, bytesOf(data)}}, "not valid UTF-8");
}

TEST_CASE("a file is replaced, and gets the mode that umask leaves", "[weights][writer]") {
  TempFolder folder;
  const std::string path = folder.write("out", "old");
  mode_t before = ::umask(027);
  Status status = writeSafetensors(path, {});
  ::umask(before);
  REQUIRE(status.ok());
  CHECK(SafetensorsFile::open(path, ReadMode::Map));
  struct stat info = {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0640);
}

TEST_CASE("a temporary that a killed process left is no obstacle", "[weights][writer]") {
  TempFolder folder;
  folder.write(fmt::format("out.tmp.{}.0", ::getpid()), "left behind");
  REQUIRE(writeSafetensors(folder / "out", {}).ok());
  CHECK(numEntries(folder) == 2);
}

TEST_CASE("a target that is no regular file, or in no folder, is refused", "[weights][writer]") {
  TempFolder folder;
  CHECK(writeSafetensors(folder.path(), {}).code() == Code::InvalidArgument);
  CHECK(writeSafetensors("/dev/null", {}).code() == Code::InvalidArgument);
  Status status = writeSafetensors(folder / "none/out", {});
  CHECK(status.code() == Code::Failure);
  CHECK_THAT(status.message(), Catch::Matchers::Contains("none/out"));
}
