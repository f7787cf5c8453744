#include "tools/moec/Emitted.h"

#include "compiler/core/Json.h"
#include "tools/common/Files.h"
#include "tools/moec/Setup.h"

#include <filesystem>
#include <system_error>

namespace moec::tool {
namespace {

namespace fs = std::filesystem;

Status makeFolder(const std::string &folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::is_directory(folder, error))
    return makeError(Code::Failure, "{}: cannot be made a folder: {}", folder,
                     error ? error.message() : "it is a file");
  return {};
}

/// Names come from a compiler's library or a package, which may be anybody's: they stay in the folder.
Result<std::string> pathIn(const std::string &folder, const std::string &name) {
  if (name.empty() || name.find('/') != std::string::npos || name[0] == '.')
    return makeError(Code::Failure, "a kernel has a name that is no file's name");
  return (fs::path(folder) / name).string();
}

} // namespace

Status writeEmitted(const std::string &folder, const std::string &emitted) {
  Result<JsonDocument> document = JsonDocument::parse(emitted, "emitted files", Code::Failure);
  if (!document)
    return document.status();
  JsonValue root = document->root();
  root.requireSchema("moec.emitted-files", 1);
  JsonValue files = root["files"];
  const bool toStdout = folder.empty() || folder == "-";
  if (!toStdout)
    if (Status status = makeFolder(folder); !status.ok())
      return status;
  for (size_t i = 0, count = files.size(); i < count; ++i) {
    JsonValue file = files.at(i);
    const std::string name = file["name"].text(), text = file["text"].text();
    if (Status status = document->status(); !status.ok())
      return status;
    Result<std::string> path = toStdout ? Result<std::string>("-") : pathIn(folder, name);
    if (!path)
      return path.status();
    if (Status status = writeOutput(*path, text); !status.ok())
      return status;
  }
  if (Status status = document->status(); !status.ok() || toStdout)
    return status;
  return printResult(fmt::format("{}: {}\n", folder, counted(files.size(), "file")));
}

Result<uint64_t> writeCubins(const std::string &folder, const Package &package) {
  if (package.target.device != DeviceKind::Cuda)
    return makeError(Code::InvalidArgument, "target {} has no cubins, only GPUs do", package.target.name);
  if (Status status = makeFolder(folder); !status.ok())
    return status;
  uint64_t bytes = 0;
  for (const Image &image : package.images) {
    Result<std::string> path = pathIn(folder, image.name + ".cubin");
    if (!path)
      return path.status();
    if (Status status = writeOutput(*path, image.bytes); !status.ok())
      return status;
    bytes += image.bytes.size();
  }
  return bytes;
}

} // namespace moec::tool
