#include "runtime/weights/Checkpoint.h"
#include "tests/unit/Catch.h"
#include "tests/unit/weights/Files.h"

#include <sys/stat.h>

using namespace moec;
using namespace moec::test;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

constexpr const char *oneTensor = R"({"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}})";
constexpr const char *otherTensor = R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})";
constexpr const char *indexName = "model.safetensors.index.json";

std::string indexOf(const std::string &shardOfA) {
  return R"({"metadata":{"total_size":11,"more":[{"x":null},1.5]},"weight_map":{"a":")" + shardOfA + R"("}})";
}

Status openError(const std::string &path) {
  Result<Checkpoint> checkpoint = Checkpoint::open(path);
  REQUIRE_FALSE(checkpoint);
  return checkpoint.status();
}

/// A folder whose index sends tensor `a` to a shard of that name is refused, and the error says why.
void checkShardRefused(const TempFolder &folder, const std::string &shard, const std::string &why) {
  folder.write(indexName, indexOf(shard));
  Status status = openError(folder.path());
  CHECK(status.code() == Code::InvalidModel);
  CHECK_THAT(status.message(), Contains(why));
}

std::vector<std::byte> contentOf(const Checkpoint &checkpoint, std::string_view name) {
  std::optional<TensorSpan> tensor = checkpoint.find(name);
  REQUIRE(tensor);
  std::vector<std::byte> content(tensor->byteSize);
  REQUIRE(tensor->read(0, content).ok());
  return content;
}

std::vector<std::byte> countingUp(size_t count) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < count; ++i)
    bytes.push_back(static_cast<std::byte>(i));
  return bytes;
}

} // namespace

TEST_CASE("one file is read alike when it is mapped and when it is not", "[weights][checkpoint]") {
  TempFolder folder;
  std::string file = folder.write("any-name.safetensors", safetensors(oneTensor, 8));
  for (ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
    Result<Checkpoint> checkpoint = Checkpoint::open(file, {.mode = mode});
    REQUIRE(checkpoint);
    std::optional<TensorSpan> tensor = checkpoint->find("a");
    REQUIRE(tensor);
    CHECK(tensor->type == TensorType::BF16);
    CHECK(std::vector(tensor->shape.begin(), tensor->shape.end()) == std::vector<int64_t>{2, 2});
    CHECK(contentOf(*checkpoint, "a") == countingUp(8));
    std::vector<std::byte> part(3);
    REQUIRE(tensor->read(4, part).ok());
    CHECK(part[0] == std::byte(4));
    CHECK(tensor->read(6, part).code() == Code::InvalidArgument); // past its end
    if (mode == ReadMode::Map)
      CHECK(std::vector(tensor->bytes.begin(), tensor->bytes.end()) == countingUp(8));
    else
      CHECK(tensor->bytes.data() == nullptr);
    CHECK_FALSE(checkpoint->find("b"));
  }
}

TEST_CASE("a file that broke a rule is named when it is opened", "[weights][checkpoint]") {
  TempFolder folder;
  std::string file = folder.write("model.safetensors", safetensors(oneTensor, 7));
  Status status = openError(folder.path());
  CHECK(status.code() == Code::InvalidModel);
  CHECK_THAT(status.message(), Contains("'" + file + "'") && Contains("'a'") && Contains("(S6)"));
}

TEST_CASE("an empty or truncated file is an error in both modes", "[weights][checkpoint]") {
  TempFolder folder;
  std::string whole = safetensors(oneTensor, 8);
  for (size_t length = 0; length < whole.size(); ++length) {
    std::string file = folder.write("f.safetensors", whole.substr(0, length));
    for (ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
      Result<Checkpoint> checkpoint = Checkpoint::open(file, {.mode = mode});
      REQUIRE_FALSE(checkpoint);
      CHECK(checkpoint.status().code() == Code::InvalidModel);
    }
  }
}

TEST_CASE("a file that shrinks after it was opened is an error when it is not mapped", "[weights][checkpoint]") {
  TempFolder folder;
  std::string file = folder.write("f.safetensors", safetensors(oneTensor, 8));
  Result<Checkpoint> checkpoint = Checkpoint::open(file, {.mode = ReadMode::Pread});
  REQUIRE(checkpoint);
  fs::resize_file(file, 20);
  std::vector<std::byte> content(8);
  Status status = checkpoint->find("a")->read(0, content);
  CHECK(status.code() == Code::Failure);
  CHECK_THAT(status.message(), Contains("became shorter"));
}

TEST_CASE("shards are found through the index", "[weights][checkpoint]") {
  TempFolder folder;
  folder.write("model-1.safetensors", safetensors(oneTensor, 8));
  folder.write("model-2.safetensors", safetensors(otherTensor, 3));
  folder.write(indexName, R"({"metadata":{},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
  for (ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
    Result<Checkpoint> checkpoint = Checkpoint::open(folder.path(), {.mode = mode});
    REQUIRE(checkpoint);
    CHECK(checkpoint->names() == std::vector<std::string_view>{"a", "b"});
    CHECK(contentOf(*checkpoint, "a") == countingUp(8));
    CHECK(contentOf(*checkpoint, "b") == countingUp(3));
  }
}

TEST_CASE("a checkpoint stays usable when it is moved", "[weights][checkpoint]") {
  TempFolder folder;
  folder.write("model.safetensors", safetensors(oneTensor, 8));
  Result<Checkpoint> opened = Checkpoint::open(folder.path());
  REQUIRE(opened);
  Checkpoint moved = std::move(*opened);
  CHECK(contentOf(moved, "a") == countingUp(8));
}

TEST_CASE("a folder's single file is taken before its index", "[weights][checkpoint]") {
  TempFolder folder;
  folder.write("model.safetensors", safetensors(oneTensor, 8));
  folder.write(indexName, "not even JSON");
  CHECK(Checkpoint::open(folder.path()));
}

TEST_CASE("what is not there is NotFound, and the message names it", "[weights][checkpoint]") {
  TempFolder folder;
  Status none = openError(folder / "no-such-path");
  CHECK(none.code() == Code::NotFound);
  CHECK_THAT(none.message(), Contains("no-such-path"));
  Status empty = openError(folder.path());
  CHECK(empty.code() == Code::NotFound);
  CHECK_THAT(empty.message(), Contains("neither model.safetensors nor model.safetensors.index.json"));
}

TEST_CASE("a path that is neither a file nor a folder is refused", "[weights][checkpoint]") {
  CHECK(openError("/dev/null").code() == Code::InvalidArgument);
  TempFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(openError(folder / "pipe").code() == Code::InvalidArgument); // and opening it doesn't wait for a writer
}

TEST_CASE("I1: an index that is not a JSON object is refused", "[weights][checkpoint]") {
  CHECK_THAT(parseShardIndex("{", "i").status().message(), Contains("'i': (I1) the index is not valid JSON"));
  CHECK_THAT(parseShardIndex("[]", "i").status().message(), Contains("(I1) the index is an array, not an object"));
  CHECK_THAT(parseShardIndex("3", "i").status().message(), Contains("(I1) the index is a number"));
  CHECK_THAT(parseShardIndex("{} {}", "i").status().message(), Contains("(I1)"));
}

TEST_CASE("I2: an index with a key twice is refused", "[weights][checkpoint]") {
  CHECK_THAT(parseShardIndex(R"({"weight_map":{"a":"s","a":"t"}})", "i").status().message(),
             Contains("tensor 'a': (I2) weight_map names it twice"));
  CHECK_THAT(parseShardIndex(R"({"weight_map":{"a":"s"},"weight_map":{"b":"s"}})", "i").status().message(),
             Contains("(I2) key 'weight_map' occurs twice"));
}

TEST_CASE("I3: an index without a usable weight_map is refused", "[weights][checkpoint]") {
  CHECK_THAT(parseShardIndex("{}", "i").status().message(), Contains("(I3) the index has no weight_map"));
  CHECK_THAT(parseShardIndex(R"({"metadata":{"weight_map":{"a":"s"}}})", "i").status().message(),
             Contains("(I3) the index has no weight_map")); // one level too deep
  CHECK_THAT(parseShardIndex(R"({"weight_map":{}})", "i").status().message(), Contains("(I3) weight_map names no"));
  CHECK_THAT(parseShardIndex(R"({"weight_map":["s"]})", "i").status().message(), Contains("(I3) weight_map is"));
  CHECK_THAT(parseShardIndex(R"({"weight_map":{"a":1}})", "i").status().message(),
             Contains("tensor 'a': (I3) its shard is a number, not a string"));
  CHECK_THAT(parseShardIndex(R"({"weight_map":{"a":{}}})", "i").status().message(), Contains("(I3) its shard is"));
}

TEST_CASE("I4: a shard name that leaves the folder is refused before anything is opened", "[weights][checkpoint]") {
  TempFolder folder;
  folder.write("outside.safetensors", safetensors(oneTensor, 8));
  fs::create_directory(folder / "sub");
  for (const char *name : {"../outside.safetensors", "sub/../outside.safetensors", "sub/x", "..", ".", "",
                           "/etc/passwd", "./outside.safetensors", "a\\u0000b", "sub/"}) {
    Result<ShardIndex> index = parseShardIndex(indexOf(name), "i");
    REQUIRE_FALSE(index);
    CHECK(index.status().code() == Code::InvalidModel);
    CHECK_THAT(index.status().message(), Contains("tensor 'a': (I4) shard name"));
  }
  CHECK(parseShardIndex(indexOf("..a..b"), "i")); // dots alone don't lead anywhere
}

TEST_CASE("I5: a shard that is missing, or lacks its tensor, is named", "[weights][checkpoint]") {
  TempFolder folder;
  checkShardRefused(folder, "gone.safetensors", "(I5) shard 'gone.safetensors' of tensor 'a' does not exist");
  folder.write("other.safetensors", safetensors(otherTensor, 3));
  checkShardRefused(folder, "other.safetensors", "(I5) tensor 'a' is not in its shard 'other.safetensors'");
}

TEST_CASE("a shard that is a symbolic link is refused", "[weights][checkpoint]") {
  TempFolder outside, folder;
  std::string target = outside.write("secret.safetensors", safetensors(oneTensor, 8));
  fs::create_symlink(target, folder / "absolute.safetensors");
  checkShardRefused(folder, "absolute.safetensors", "refused: it is a symbolic link");
  folder.write("real.safetensors", safetensors(oneTensor, 8));
  fs::create_symlink("real.safetensors", folder / "inside.safetensors");
  checkShardRefused(folder, "inside.safetensors", "refused: it is a symbolic link");
  fs::create_symlink("nowhere", folder / "dangling.safetensors");
  checkShardRefused(folder, "dangling.safetensors", "refused: it is a symbolic link");
}

TEST_CASE("an index, or a folder's only file, that is a symbolic link is refused", "[weights][checkpoint]") {
  for (const char *name : {"model.safetensors", indexName}) {
    TempFolder outside, folder;
    fs::create_symlink(outside.write("target", safetensors(oneTensor, 8)), folder / name);
    Status status = openError(folder.path());
    CHECK(status.code() == Code::InvalidModel);
    CHECK_THAT(status.message(), Contains("refused: it is a symbolic link"));
  }
}

TEST_CASE("a shard that is not a regular file is refused", "[weights][checkpoint]") {
  TempFolder folder;
  fs::create_directory(folder / "sub");
  checkShardRefused(folder, "sub", "is not a regular file");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  checkShardRefused(folder, "pipe", "is not a regular file");
}

TEST_CASE("a hard link is as good as a copy", "[weights][checkpoint]") {
  TempFolder folder;
  folder.write("real", safetensors(oneTensor, 8));
  fs::create_hard_link(folder / "real", folder / "linked.safetensors");
  folder.write(indexName, indexOf("linked.safetensors"));
  CHECK(Checkpoint::open(folder.path()));
}

TEST_CASE("a path that the user gave may be a symbolic link", "[weights][checkpoint]") {
  TempFolder folder;
  fs::create_symlink(folder.write("real", safetensors(oneTensor, 8)), folder / "link");
  CHECK(Checkpoint::open(folder / "link"));
}

TEST_CASE("the links of a Hugging Face cache are followed, and only those", "[weights][checkpoint]") {
  TempFolder folder;
  const std::string digest(64, 'a'), commit(40, '0');
  fs::create_directories(folder / "repo/blobs");
  fs::create_directories(folder / "repo/snapshots/main");
  folder.write("repo/blobs/" + digest, safetensors(oneTensor, 8));
  folder.write("repo/blobs/" + commit, indexOf("model-1.safetensors"));
  folder.write("repo/blobs/name", safetensors(oneTensor, 8));
  const std::string snapshot = folder / "repo/snapshots/main", shard = snapshot + "/model-1.safetensors";
  fs::create_symlink("../../blobs/" + commit, snapshot + "/" + indexName);

  SECTION("to a blob") {
    fs::create_symlink("../../blobs/" + digest, shard);
    CHECK(Checkpoint::open(snapshot));
  }
  SECTION("not to a file that is named otherwise") {
    fs::create_symlink("../../blobs/name", shard);
    CHECK_THAT(openError(snapshot).message(), Contains("refused: it is a symbolic link"));
  }
  SECTION("not by another way") {
    fs::create_symlink("../../../repo/blobs/" + digest, shard);
    CHECK_THAT(openError(snapshot).message(), Contains("refused: it is a symbolic link"));
  }
  SECTION("not to a blob that is a link in turn") {
    fs::create_symlink("name", folder / ("repo/blobs/" + std::string(64, 'b')));
    fs::create_symlink("../../blobs/" + std::string(64, 'b'), shard);
    CHECK_FALSE(Checkpoint::open(snapshot));
  }
  SECTION("not if blobs is a link") {
    fs::create_symlink("../../blobs/" + digest, shard);
    fs::rename(folder / "repo/blobs", folder / "elsewhere");
    fs::create_symlink("../elsewhere", folder / "repo/blobs");
    CHECK_FALSE(Checkpoint::open(snapshot));
  }
}
