#include "compiler/core/CacheStore.h"
#include "compiler/core/Keys.h"
#include "tests/unit/Catch.h"
#include "tests/unit/core/TemporaryFolder.h"

#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

using namespace moec;
using namespace moec::test;
namespace fs = std::filesystem;

namespace {

using Bytes = std::vector<uint8_t>;

CacheStore openStore(const fs::path &folder) {
  Result<CacheStore> store = CacheStore::open(folder);
  INFO(store.status().message());
  REQUIRE(store.ok());
  return std::move(*store);
}

fs::path entryOf(const CacheStore &store, const std::string &kind, const std::string &key) {
  return store.folder() / kind / digest(key);
}

Bytes readFile(const fs::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void writeFile(const fs::path &path, const Bytes &bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  ::chmod(path.c_str(), 0600);
}

/// Sets when the file was last used, in seconds before now.
void age(const fs::path &path, int seconds) {
  timespec then{};
  ::clock_gettime(CLOCK_REALTIME, &then);
  then.tv_sec -= seconds;
  const timespec times[2] = {then, then};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

size_t filesIn(const fs::path &folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

const Bytes value = {1, 2, 3, 0, 255};

} // namespace

TEST_CASE("what was put is found, by the same key and kind only", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path / "cache");
  REQUIRE(store.put("kernel", "key\nwith lines", value).ok());
  REQUIRE(store.put("kernel", "empty", Bytes{}).ok());
  CHECK(store.find("kernel", "key\nwith lines") == value);
  CHECK(store.find("kernel", "empty") == Bytes{});
  CHECK_FALSE(store.find("kernel", "key\nwith line").has_value());
  CHECK_FALSE(store.find("package", "key\nwith lines").has_value());
  CHECK(openStore(folder.path / "cache").find("kernel", "key\nwith lines") == value);
  CacheStore::Stats stats = store.stats();
  CHECK(stats.hits == 2);
  CHECK(stats.misses == 2);
  CHECK(stats.corrupt == 0);
  CHECK(stats.writes == 2);
}

TEST_CASE("a second put of a key replaces the first and leaves one file", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path);
  REQUIRE(store.put("kernel", "key", value).ok());
  REQUIRE(store.put("kernel", "key", Bytes(100000, 7)).ok());
  CHECK(store.find("kernel", "key") == Bytes(100000, 7));
  CHECK(filesIn(folder.path / "kernel") == 1);
}

TEST_CASE("folders are made private, with their parents", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path / "a" / "b");
  REQUIRE(store.put("kernel", "key", value).ok());
  struct stat info{};
  for (const fs::path &path : {folder.path / "a" / "b", folder.path / "a" / "b" / "kernel"}) {
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0700);
  }
  REQUIRE(::stat(entryOf(store, "kernel", "key").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("a folder that others could write to is refused", "[core][cache]") {
  TemporaryFolder folder;
  auto refused = [](const fs::path &path, Code code) {
    Result<CacheStore> store = CacheStore::open(path);
    REQUIRE_FALSE(store.ok());
    CHECK(store.status().code() == code);
    return store.status().message();
  };
  fs::path shared = folder.path / "shared";
  fs::create_directory(shared);
  for (mode_t mode : {0777, 0770, 0702}) {
    ::chmod(shared.c_str(), mode);
    CHECK(refused(shared, Code::InvalidArgument).find("writable by other users") != std::string::npos);
  }
  writeFile(folder.path / "file", value);
  CHECK(refused(folder.path / "file", Code::InvalidArgument).ends_with("is not a folder"));
  CHECK(refused(folder.path / "file" / "below", Code::Failure).starts_with("cannot make cache folder"));
  CHECK(refused("", Code::InvalidArgument).ends_with("is no path"));
  if (::geteuid() == 0) {
    ::chmod(shared.c_str(), 0700);
    REQUIRE(::chown(shared.c_str(), 65534, 65534) == 0);
    CHECK(refused(shared, Code::InvalidArgument).ends_with("belongs to another user"));
  } else {
    WARN("another owner's folder is tested as root only");
  }
}

TEST_CASE("a kind that is no plain name is refused and never found", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path / "cache");
  for (const char *kind : {"", "..", "a/b", ".", "Kernel", "a b"}) {
    CHECK(store.put(kind, "key", value).code() == Code::InvalidArgument);
    CHECK_FALSE(store.find(kind, "key").has_value());
  }
  CHECK(filesIn(folder.path / "cache") == 0);
}

TEST_CASE("an entry truncated at any byte is a miss, counted and removed", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path);
  REQUIRE(store.put("kernel", "key", value).ok());
  fs::path path = entryOf(store, "kernel", "key");
  const Bytes good = readFile(path);
  for (size_t length = 0; length < good.size(); ++length) {
    writeFile(path, Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)));
    REQUIRE_FALSE(store.find("kernel", "key").has_value());
    REQUIRE_FALSE(fs::exists(path));
  }
  CHECK(store.stats().corrupt == good.size());
  Bytes longer = good;
  longer.push_back(0);
  writeFile(path, longer);
  CHECK_FALSE(store.find("kernel", "key").has_value());
  writeFile(path, good); // the test's own writing is not what fails
  CHECK(store.find("kernel", "key") == value);
}

TEST_CASE("an entry with any bit flipped is a miss", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path);
  REQUIRE(store.put("kernel", "key", value).ok());
  fs::path path = entryOf(store, "kernel", "key");
  const Bytes good = readFile(path);
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Bytes damaged = good;
    damaged[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    writeFile(path, damaged);
    CAPTURE(bit);
    REQUIRE_FALSE(store.find("kernel", "key").has_value());
    REQUIRE_FALSE(fs::exists(path));
  }
  CHECK(store.stats().corrupt == 8 * good.size());
}

TEST_CASE("another key's file under a key's name is a miss", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path);
  REQUIRE(store.put("kernel", "one", value).ok());
  REQUIRE(store.put("kernel", "two", Bytes{9}).ok());
  fs::rename(entryOf(store, "kernel", "one"), entryOf(store, "kernel", "two"));
  CHECK_FALSE(store.find("kernel", "two").has_value());
  CHECK(store.stats().corrupt == 1);
  REQUIRE(store.put("kernel", "two", Bytes{9}).ok()); // it heals
  CHECK(store.find("kernel", "two") == Bytes{9});
}

TEST_CASE("links, FIFOs and files of others in an entry's place are misses and go away", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path / "cache");
  REQUIRE(store.put("kernel", "key", value).ok());
  fs::path path = entryOf(store, "kernel", "key"), aside = folder.path / "aside";
  auto missAndGone = [&] {
    CHECK_FALSE(store.find("kernel", "key").has_value());
    CHECK_FALSE(fs::exists(fs::symlink_status(path)));
    REQUIRE(store.put("kernel", "key", value).ok());
    CHECK(store.find("kernel", "key") == value);
  };
  SECTION("a symbolic link to a good entry") {
    fs::rename(path, aside);
    fs::create_symlink(aside, path);
    missAndGone();
    CHECK(fs::exists(aside));
  }
  SECTION("a dangling symbolic link") {
    fs::remove(path);
    fs::create_symlink(folder.path / "nothing", path);
    missAndGone();
  }
  SECTION("a hard link") {
    fs::create_hard_link(path, aside);
    missAndGone();
  }
  SECTION("a FIFO") {
    fs::remove(path);
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    missAndGone();
  }
  SECTION("writable by the group or by all") {
    for (mode_t mode : {0620, 0602}) {
      ::chmod(path.c_str(), mode);
      missAndGone();
    }
  }
  SECTION("another owner") {
    if (::geteuid() != 0) {
      WARN("another owner's entry is tested as root only");
      return;
    }
    REQUIRE(::chown(path.c_str(), 65534, 65534) == 0);
    missAndGone();
  }
}

TEST_CASE("a kind's folder that is a link leads nowhere", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path / "cache");
  REQUIRE(store.put("kernel", "key", value).ok());
  fs::rename(folder.path / "cache" / "kernel", folder.path / "outside");
  fs::create_directory_symlink(folder.path / "outside", folder.path / "cache" / "kernel");
  CHECK_FALSE(store.find("kernel", "key").has_value());
  CHECK_FALSE(store.put("kernel", "other", value).ok());
  CHECK(filesIn(folder.path / "outside") == 1);
}

TEST_CASE("a put that cannot be published says why and leaves no file", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path);
  REQUIRE(store.put("kernel", "other", value).ok());
  fs::create_directory(entryOf(store, "kernel", "key"));
  Status status = store.put("kernel", "key", value);
  CHECK(status.code() == Code::Failure);
  CHECK(status.message().starts_with("cannot publish a cache entry: "));
  CHECK(filesIn(folder.path / "kernel") == 2);
  CHECK_FALSE(store.find("kernel", "key").has_value());
  CHECK(store.stats().writes == 1);
}

TEST_CASE("a store whose folder was removed misses, and fails to write", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path / "cache");
  fs::remove_all(folder.path / "cache");
  CHECK_FALSE(store.find("kernel", "key").has_value());
  CHECK(store.put("kernel", "key", value).code() == Code::Failure);
  CHECK_FALSE(store.verify(true).ok());
  CHECK_FALSE(store.collect(0).ok());
}

TEST_CASE("verify counts good and corrupt entries, and removes the corrupt ones if told", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path);
  for (const char *key : {"a", "b", "c"})
    REQUIRE(store.put("kernel", key, value).ok());
  REQUIRE(store.put("package", "a", value).ok());
  writeFile(entryOf(store, "kernel", "b"), {'M', 'O', 'E', 'C', 'A', 'R', 'T', '\n', 1, 2, 3});
  uint64_t size = fs::file_size(entryOf(store, "kernel", "a"));
  for (bool remove : {false, true}) {
    Result<CacheStore::Usage> usage = store.verify(remove);
    REQUIRE(usage.ok());
    CHECK(usage->entries == 3);
    CHECK(usage->bytes == 3 * size);
    CHECK(usage->corrupt == 1);
  }
  CHECK_FALSE(fs::exists(entryOf(store, "kernel", "b")));
  CHECK(store.verify(false)->corrupt == 0);
}

TEST_CASE("collect removes the least recently used entries first", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path);
  const char *keys[] = {"a", "b", "c", "d"};
  for (int index = 0; index < 4; ++index) {
    REQUIRE(store.put(index % 2 ? "kernel" : "package", keys[index], value).ok());
    age(entryOf(store, index % 2 ? "kernel" : "package", keys[index]), 400 - 100 * index);
  }
  uint64_t size = fs::file_size(entryOf(store, "package", "a"));
  REQUIRE(store.find("package", "a") == value); // the oldest is now the one used last
  Result<CacheStore::Usage> left = store.collect(2 * size);
  REQUIRE(left.ok());
  CHECK(left->entries == 2);
  CHECK(left->bytes == 2 * size);
  CHECK(store.find("package", "a").has_value());
  CHECK(store.find("kernel", "d").has_value());
  CHECK_FALSE(store.find("kernel", "b").has_value());
  CHECK_FALSE(store.find("package", "c").has_value());
  CHECK(store.collect(UINT64_MAX)->entries == 2);
  CHECK(store.collect(0)->entries == 0);
}

TEST_CASE("collect removes temporaries of the dead, not those being written", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path);
  REQUIRE(store.put("kernel", "key", value).ok());
  fs::path old = folder.path / "kernel" / ".tmp-1-0", young = folder.path / "kernel" / ".tmp-1-1";
  writeFile(old, value);
  writeFile(young, value);
  age(old, 3700);
  age(young, 3500);
  REQUIRE(store.collect(UINT64_MAX).ok());
  CHECK_FALSE(fs::exists(old));
  CHECK(fs::exists(young));
  CHECK(store.verify(false)->entries == 1);
}

TEST_CASE("files that are not the store's stay, whatever folder it is pointed at", "[core][cache]") {
  TemporaryFolder folder;
  fs::create_directories(folder.path / "photos");
  const std::vector<std::string> foreign = {"cat.jpg",
                                            ".tmp-1",
                                            ".tmp-x-1",
                                            ".tmp-1-1.jpg",
                                            "0123456789abcdef0123456789abcdef",
                                            "0123456789abcdef0123456789ABCDEF",
                                            "0123456789abcdef0123456789abcde",
                                            "0123456789abcdef0123456789abcdef0"};
  for (const std::string &name : foreign) {
    writeFile(folder.path / "photos" / name, {1, 2, 3});
    age(folder.path / "photos" / name, 3700); // as temporaries of the dead
  }
  auto store = CacheStore::open(folder.path);
  REQUIRE(store.ok());
  REQUIRE(store->put("photos", "key", value).ok());
  const Result<CacheStore::Usage> verified = store->verify(true), collected = store->collect(0);
  REQUIRE(verified.ok());
  CHECK(verified->entries == 1);
  CHECK(verified->corrupt == 0);
  REQUIRE(collected.ok());
  CHECK(collected->entries == 0);
  CHECK_FALSE(store->find("photos", "key"));
  for (const std::string &name : foreign)
    CHECK(fs::exists(folder.path / "photos" / name));
}

TEST_CASE("threads may share a store", "[core][cache]") {
  TemporaryFolder folder;
  CacheStore store = openStore(folder.path);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number)
    threads.emplace_back([&, number] {
      for (int round = 0; round < 50; ++round) {
        std::string key = std::to_string((number + round) % 3);
        if (!store.put("kernel", key, Bytes(1000, static_cast<uint8_t>(key[0]))).ok())
          ++wrong;
        std::optional<Bytes> found = store.find("kernel", key);
        if (found != Bytes(1000, static_cast<uint8_t>(key[0])))
          ++wrong;
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  CHECK(wrong == 0);
  CHECK(store.stats().hits == 200);
  CHECK(filesIn(folder.path / "kernel") == 3);
}
