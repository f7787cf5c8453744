#include "compiler/jit/NvrtcIdentity.h"

#include "compiler/core/Json.h"

#include <nlohmann/json.hpp>

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

namespace moec {

namespace {

/// A file that is closed in the end.
class OpenFile {
public:
  explicit OpenFile(const std::string &path) : descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~OpenFile() {
    if (descriptor >= 0)
      close(descriptor);
  }
  OpenFile(const OpenFile &) = delete;
  OpenFile &operator=(const OpenFile &) = delete;

  bool read(uint64_t offset, void *to, size_t bytes) const {
    return descriptor >= 0 && pread(descriptor, to, bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes);
  }

private:
  int descriptor;
};

/// The build id among the notes of one segment; empty where there is none.
std::string buildIdIn(const std::vector<uint8_t> &notes, uint64_t align) {
  const auto rounded = [&](uint64_t size) { return (size + align - 1) / align * align; };
  Elf64_Nhdr note;
  for (uint64_t at = 0; at + sizeof(note) <= notes.size();) {
    std::copy_n(&notes[at], sizeof(note), reinterpret_cast<uint8_t *>(&note));
    const uint64_t name = at + sizeof(note), value = name + rounded(note.n_namesz),
                   next = value + rounded(note.n_descsz);
    if (value + note.n_descsz > notes.size())
      return "";
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::equal(&notes[name], &notes[name] + 4, "GNU")) {
      std::string text;
      for (uint32_t i = 0; i < note.n_descsz; ++i)
        text += fmt::format("{:02x}", notes[value + i]);
      return text;
    }
    at = next;
  }
  return "";
}

std::string buildIdOf(const std::string &path) {
  constexpr uint64_t mostBytes = 1u << 16; // of a segment of notes: some hundred
  const OpenFile file(path);
  Elf64_Ehdr header;
  if (!file.read(0, &header, sizeof(header)) || !std::equal(header.e_ident, header.e_ident + SELFMAG, ELFMAG) ||
      header.e_phentsize != sizeof(Elf64_Phdr))
    return "";
  for (uint32_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!file.read(header.e_phoff + i * sizeof(segment), &segment, sizeof(segment)))
      return "";
    if (segment.p_type != PT_NOTE || segment.p_filesz > mostBytes)
      continue;
    std::vector<uint8_t> notes(segment.p_filesz);
    if (!file.read(segment.p_offset, notes.data(), notes.size()))
      return "";
    if (std::string id = buildIdIn(notes, segment.p_align == 8 ? 8 : 4); !id.empty())
      return id;
  }
  return "";
}

std::string stateOf(const struct stat &info) {
  return fmt::format("{} bytes of {}.{:09}", info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
}

/// Folders in which the loader looks for what this code asks it for, in its order: those of the environment as the
/// process started, of this library, and the system's.
std::vector<std::string> loaderFolders() {
  Dl_info self{};
  void *handle = nullptr;
  if (dladdr(reinterpret_cast<void *>(&loaderFolders), &self) && self.dli_fname)
    handle = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (!handle)
    handle = dlopen(nullptr, RTLD_LAZY); // this code is part of the program
  Dl_serinfo size{};
  std::vector<std::string> folders;
  if (handle && dlinfo(handle, RTLD_DI_SERINFOSIZE, &size) == 0) {
    const std::unique_ptr<std::byte[]> memory(new std::byte[size.dls_size]);
    auto *paths = reinterpret_cast<Dl_serinfo *>(memory.get());
    if (dlinfo(handle, RTLD_DI_SERINFOSIZE, paths) == 0 && dlinfo(handle, RTLD_DI_SERINFO, paths) == 0)
      for (unsigned i = 0; i < paths->dls_cnt; ++i)
        folders.emplace_back(paths->dls_serpath[i].dls_name);
  }
  if (handle)
    dlclose(handle);
  return folders;
}

/// The libraries called libnvrtc that are loaded. Asking dlopen of each place that it may be at (RTLD_NOLOAD) would
/// make the loader search its whole path for each name.
std::vector<std::string> loadedNvrtc() {
  std::vector<std::string> paths;
  const auto note = [](dl_phdr_info *object, size_t, void *into) {
    const std::string_view path = object->dlpi_name ? object->dlpi_name : "";
    if (path.substr(path.find_last_of('/') + 1).starts_with("libnvrtc.so"))
      static_cast<std::vector<std::string> *>(into)->emplace_back(path);
    return 0;
  };
  dl_iterate_phdr(note, &paths);
  return paths;
}

/// Whether opening `candidate` would give a library of `loaded`.
bool isAmong(const std::vector<std::string> &loaded, const std::string &candidate) {
  const bool isName = candidate.find('/') == std::string::npos;
  return std::any_of(loaded.begin(), loaded.end(), [&](const std::string &path) {
    std::error_code ignored;
    return isName ? path.ends_with(candidate) : std::filesystem::equivalent(path, candidate, ignored);
  });
}

/// Identities of files, each read once: a toolkit is found by several names (lib and lib64, cuda and cuda-13.0).
class Identities {
public:
  std::string of(const std::string &path) {
    struct stat info{};
    if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode))
      return "";
    std::string &identity = known[{info.st_dev, info.st_ino}];
    if (identity.empty()) {
      std::error_code error;
      const std::filesystem::path resolved = std::filesystem::canonical(path, error);
      identity = fmt::format("{}: {}, build id {}", error ? path : resolved.string(), stateOf(info), buildIdOf(path));
    }
    return identity;
  }

private:
  std::map<std::pair<dev_t, ino_t>, std::string> known;
};

} // namespace

std::string fileIdentity(const std::string &path) { return Identities().of(path); }

std::optional<std::string> nvrtcSearchKey(const NvrtcSearch &search) {
  std::string key = "moec nvrtc 1\n";
  Identities identities;
  const std::vector<std::string> folders = loaderFolders(), loaded = loadedNvrtc();
  for (const std::string &candidate : Nvrtc::candidates(search)) {
    if (isAmong(loaded, candidate))
      return std::nullopt;
    key += fmt::format("tried: {}\n", candidate);
    if (candidate.find('/') != std::string::npos) {
      key += fmt::format("file: {}\n", identities.of(candidate));
      continue;
    }
    for (const std::string &folder : folders)
      if (std::string identity = identities.of(folder + "/" + candidate); !identity.empty())
        key += fmt::format("file: {}\n", identity);
  }
  // The loader's own list of libraries, which it keeps in a file.
  struct stat cache{};
  key += fmt::format("loader: {}\n", stat("/etc/ld.so.cache", &cache) == 0 ? stateOf(cache) : "no cache");
  for (const std::string &folder : folders)
    key += fmt::format("folder: {}\n", folder);
  return key;
}

std::vector<uint8_t> writeNvrtcAnswer(const Nvrtc &nvrtc) {
  const nlohmann::json json = {{"major", nvrtc.version().major},
                               {"minor", nvrtc.version().minor},
                               {"path", nvrtc.path()},
                               {"file", fileIdentity(nvrtc.path())}};
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return {text.begin(), text.end()};
}

std::optional<NvrtcVersion> readNvrtcAnswer(std::span<const uint8_t> bytes) {
  Result<JsonDocument> document =
      JsonDocument::parse(std::string(bytes.begin(), bytes.end()), "NVRTC's version", Code::CacheCorrupt);
  if (!document)
    return std::nullopt;
  const JsonValue root = document->root();
  constexpr uint64_t mostVersion = 1000;
  const NvrtcVersion version{static_cast<int>(root["major"].integer(0, mostVersion)),
                             static_cast<int>(root["minor"].integer(0, mostVersion))};
  const std::string path = root["path"].text(), file = root["file"].text();
  if (!document->status().ok() || file.empty() || fileIdentity(path) != file)
    return std::nullopt;
  return version;
}

} // namespace moec
