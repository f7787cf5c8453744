// Processes that die while they write, and processes that race for the same keys.
#include "compiler/core/CacheStore.h"
#include "tests/unit/Catch.h"
#include "tests/unit/core/Fixtures.h"
#include "tests/unit/core/TemporaryFolder.h"

#include <chrono>
#include <csignal>
#include <new>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace moec;
using namespace moec::test;
namespace fs = std::filesystem;

namespace {

using Bytes = std::vector<uint8_t>;
using Clock = std::chrono::steady_clock;

std::string keyOf(uint32_t number) { return "key " + std::to_string(number); }

/// A value that tells whether all of it is of one write: begins with key number and version, the
/// rest follows from them.
Bytes valueOf(uint32_t key, uint32_t version) {
  Random random(uint64_t{key} << 32 | version);
  Bytes value(8 + random.below(100000));
  for (size_t byte = 0; byte < value.size(); ++byte)
    value[byte] = static_cast<uint8_t>(byte < 4   ? key >> (8 * byte)
                                       : byte < 8 ? version >> (8 * (byte - 4))
                                                  : random.next());
  return value;
}

bool isSomeVersion(const Bytes &value, uint32_t key) {
  if (value.size() < 8)
    return false;
  uint32_t version = 0;
  for (size_t byte = 0; byte < 4; ++byte)
    version |= uint32_t{value[4 + byte]} << (8 * byte);
  return value == valueOf(key, version);
}

/// Puts versions of `keys` keys for ever.
[[noreturn]] void writeUntilKilled(const fs::path &folder, uint32_t keys, uint32_t firstVersion) {
  Result<CacheStore> store = CacheStore::open(folder);
  for (uint32_t version = firstVersion; store.ok(); ++version)
    if (!store->put("kernel", keyOf(version % keys), valueOf(version % keys, version)).ok())
      break;
  ::_exit(1);
}

/// Of some puts as a writer's, in another folder.
uint64_t slowestPutUs() {
  TemporaryFolder folder;
  Result<CacheStore> store = CacheStore::open(folder.path);
  REQUIRE(store.ok());
  uint64_t slowest = 0;
  for (uint32_t version = 0; version < 8; ++version) {
    const auto start = Clock::now();
    REQUIRE(store->put("kernel", keyOf(0), valueOf(0, version)).ok());
    slowest = std::max<uint64_t>(slowest,
                                 std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
  }
  return slowest;
}

size_t temporariesIn(const fs::path &folder) {
  size_t count = 0;
  for (const auto &entry : fs::directory_iterator(folder))
    count += entry.path().filename().string().starts_with(".tmp-");
  return count;
}

} // namespace

TEST_CASE("a writer killed at any instant leaves only whole entries", "[core][cache][slow]") {
  TemporaryFolder folder;
  constexpr uint32_t keys = 4, wanted = 150;
  // Where the file system is slow, writers live long enough to write.
  const auto mostUs = std::max<uint64_t>(15000, 4 * slowestPutUs());
  Random random(31);
  uint32_t kills = 0, found = 0;
  for (; kills < wanted; ++kills) {
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0)
      writeUntilKilled(folder.path, keys, kills * 100001); // begins with another key each time
    std::this_thread::sleep_for(std::chrono::microseconds(200 + random.below(mostUs)));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status)); // it was writing, and had not failed

    Result<CacheStore> store = CacheStore::open(folder.path);
    REQUIRE(store.ok());
    for (uint32_t key = 0; key < keys; ++key)
      if (std::optional<Bytes> value = store->find("kernel", keyOf(key))) {
        REQUIRE(isSomeVersion(*value, key));
        ++found;
      }
    REQUIRE(store->stats().corrupt == 0);
    Result<CacheStore::Usage> usage = store->verify(/*remove=*/false);
    REQUIRE(usage.ok());
    REQUIRE(usage->corrupt == 0);
  }
  CHECK(found > kills);
  // Some kills hit a write half-way, or this test has tested nothing.
  CHECK(temporariesIn(folder.path / "kernel") > 0);
}

TEST_CASE("processes that race for the same keys all get whole entries", "[core][cache][slow]") {
  TemporaryFolder folder;
  REQUIRE(CacheStore::open(folder.path).ok());
  constexpr uint32_t processes = 8, keys = 4, rounds = 10;
  void *shared =
      ::mmap(nullptr, sizeof(std::atomic<uint32_t>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(shared != MAP_FAILED);
  auto *arrived = new (shared) std::atomic<uint32_t>(0);

  auto race = [&](uint32_t process) {
    Result<CacheStore> store = CacheStore::open(folder.path);
    for (uint32_t round = 0; store.ok() && round < rounds; ++round)
      for (uint32_t key = 0; key < keys; ++key) {
        uint32_t barrier = ++*arrived;
        uint32_t all = (barrier + processes - 1) / processes * processes;
        while (*arrived < all) // all of them begin to write at once
          ::sched_yield();
        if (!store->put("kernel", keyOf(key), valueOf(key, process)).ok())
          return 2;
        std::optional<Bytes> value = store->find("kernel", keyOf(key));
        if (!value || !isSomeVersion(*value, key))
          return 3;
      }
    return store.ok() && store->stats().corrupt == 0 ? 0 : 4;
  };
  std::vector<pid_t> children;
  for (uint32_t process = 0; process < processes; ++process) {
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0)
      ::_exit(race(process));
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
  ::munmap(shared, sizeof(std::atomic<uint32_t>));
  Result<CacheStore> store = CacheStore::open(folder.path);
  REQUIRE(store.ok());
  Result<CacheStore::Usage> usage = store->verify(/*remove=*/false);
  REQUIRE(usage.ok());
  CHECK(usage->entries == keys);
  CHECK(usage->corrupt == 0);
  CHECK(temporariesIn(folder.path / "kernel") == 0);
}
