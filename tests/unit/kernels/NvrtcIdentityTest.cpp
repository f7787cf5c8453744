// What is known of NVRTC without opening it: another file, or another place to look, is another answer.
#include "compiler/jit/NvrtcIdentity.h"
#include "tests/unit/Catch.h"
#include "tests/unit/core/TemporaryFolder.h"

#include <nlohmann/json.hpp>

#include <elf.h>

#include <cstring>
#include <fstream>

using namespace moec;
using namespace moec::test;
namespace fs = std::filesystem;

namespace {

/// A library that the loader would refuse, but whose notes can be read: one note before the build id.
void writeLibrary(const fs::path &path, uint8_t buildId) {
  std::vector<uint8_t> notes;
  const auto note = [&](uint32_t type, std::vector<uint8_t> value) {
    const Elf64_Nhdr header{4, static_cast<uint32_t>(value.size()), type};
    const auto *bytes = reinterpret_cast<const uint8_t *>(&header);
    notes.insert(notes.end(), bytes, bytes + sizeof(header));
    for (char letter : {'G', 'N', 'U', '\0'})
      notes.push_back(static_cast<uint8_t>(letter));
    value.resize((value.size() + 3) / 4 * 4);
    notes.insert(notes.end(), value.begin(), value.end());
  };
  note(NT_GNU_ABI_TAG, {1, 2, 3, 4, 5});
  note(NT_GNU_BUILD_ID, {0xab, buildId, 0x01});
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_NOTE;
  segment.p_offset = sizeof(header) + sizeof(segment);
  segment.p_filesz = notes.size();
  segment.p_align = 4;
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char *>(&header), sizeof(header));
  file.write(reinterpret_cast<const char *>(&segment), sizeof(segment));
  file.write(reinterpret_cast<const char *>(notes.data()), static_cast<std::streamsize>(notes.size()));
}

std::string keyOf(const std::vector<std::string> &places) {
  const std::optional<std::string> key = nvrtcSearchKey({.only = places, .also = {}});
  REQUIRE(key);
  return *key;
}

} // namespace

TEST_CASE("a file's identity is its path, size, time and build id", "[kernels][identity]") {
  TemporaryFolder folder;
  const fs::path path = folder.path / "libnvrtc.so.13";
  CHECK(fileIdentity(path).empty());
  CHECK(fileIdentity(folder.path).empty());
  writeLibrary(path, 0x10);
  const fs::file_time_type time = fs::last_write_time(path);
  const std::string identity = fileIdentity(path);
  CHECK(identity.find("build id ab1001") != std::string::npos);
  CHECK(identity.find(fs::canonical(path).string()) != std::string::npos);
  fs::create_symlink(path, folder.path / "link");
  CHECK(fileIdentity(folder.path / "link") == identity);

  writeLibrary(path, 0x11); // of the same size and, below, of the same time: as a package manager leaves it
  fs::last_write_time(path, time);
  CHECK(fileIdentity(path) != identity);
  writeLibrary(path, 0x10);
  fs::last_write_time(path, time);
  CHECK(fileIdentity(path) == identity);
  fs::last_write_time(path, time + std::chrono::seconds(1));
  CHECK(fileIdentity(path) != identity);
  std::ofstream(path, std::ios::app) << "more";
  fs::last_write_time(path, time);
  CHECK(fileIdentity(path) != identity);
}

TEST_CASE("files without a build id, or no libraries at all, are known by the rest", "[kernels][identity]") {
  TemporaryFolder folder;
  for (const char *text : {"",
                           "\x7f"
                           "ELF",
                           "a text of some length that is no library, whatever its name may say about it"}) {
    std::ofstream(folder.path / "file", std::ios::trunc) << text;
    const std::string identity = fileIdentity(folder.path / "file");
    CHECK(identity.find(", build id ") == identity.size() - std::strlen(", build id "));
  }
}

TEST_CASE("a search is known by its places and by what lies there", "[kernels][identity]") {
  TemporaryFolder folder;
  const std::string first = folder.path / "first", second = folder.path / "second";
  fs::create_directories(first);
  fs::create_directories(second);
  writeLibrary(fs::path(second) / "libnvrtc.so.13", 1);
  const std::string key = keyOf({first, second});
  CHECK(keyOf({first, second}) == key);
  CHECK(keyOf({second, first}) != key);
  CHECK(keyOf({second}) != key);
  writeLibrary(fs::path(first) / "libnvrtc.so.12", 1); // which is found first from now on
  const std::string both = keyOf({first, second});
  CHECK(both != key);
  fs::remove(fs::path(first) / "libnvrtc.so.12");
  CHECK(keyOf({first, second}) == key);
  writeLibrary(fs::path(second) / "libnvrtc.so.13", 2);
  CHECK(keyOf({first, second}) != key);
}

TEST_CASE("where NVRTC is loaded already nothing need be remembered", "[kernels][identity]") {
  REQUIRE(Nvrtc::open().ok());
  CHECK_FALSE(nvrtcSearchKey({}).has_value());
}

TEST_CASE("a remembered version holds as long as its file does", "[kernels][identity]") {
  TemporaryFolder folder;
  const std::string path = folder.path / "libnvrtc.so.13";
  writeLibrary(path, 1);
  const std::string text =
      nlohmann::json({{"major", 13}, {"minor", 2}, {"path", path}, {"file", fileIdentity(path)}}).dump();
  const auto read = [](const std::string &value) {
    return readNvrtcAnswer({reinterpret_cast<const uint8_t *>(value.data()), value.size()});
  };
  CHECK(read(text) == NvrtcVersion{13, 2});
  for (size_t length = 0; length < text.size(); ++length)
    CHECK_FALSE(read(text.substr(0, length)));
  writeLibrary(path, 2);
  CHECK_FALSE(read(text));
  fs::remove(path);
  CHECK_FALSE(read(text));

  const Result<Nvrtc> nvrtc = Nvrtc::open();
  REQUIRE(nvrtc.ok());
  CHECK(readNvrtcAnswer(writeNvrtcAnswer(*nvrtc)) == nvrtc->version());
}
