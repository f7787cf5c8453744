#include "compiler/codegen/cpu/LowerToLlvm.h"

#include "lld/Common/Driver.h"
#include "llvm/Plugins/PassPlugin.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <mutex>

LLD_HAS_DRIVER(elf)

// lld's LTO refers to Polly, which this build of LLVM keeps in a library of its own. We link objects, never bitcode:
// LTO, and so this, never runs.
llvm::PassPluginLibraryInfo getPollyPluginInfo() { return {LLVM_PLUGIN_API_VERSION, "none", "", nullptr, nullptr}; }

namespace moec::codegen {
namespace {

/// A private folder for lld's files, gone when this is.
struct TemporaryFolder {
  llvm::SmallString<128> path;
  std::error_code error;

  TemporaryFolder() : error(llvm::sys::fs::createUniqueDirectory("moec-link", path)) {}
  ~TemporaryFolder() {
    if (!error)
      llvm::sys::fs::remove_directories(path);
  }
  std::string file(llvm::StringRef name) const {
    llvm::SmallString<128> full(path);
    llvm::sys::path::append(full, name);
    return full.str().str();
  }
};

std::error_code writeFile(const std::string &path, const std::vector<uint8_t> &bytes) {
  std::error_code error;
  llvm::raw_fd_ostream stream(path, error);
  if (error)
    return error;
  stream.write(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  stream.close();
  return stream.error();
}

} // namespace

Result<std::vector<uint8_t>> linkSharedObject(const std::vector<uint8_t> &object) {
  static std::mutex lldLock; // lld::elf keeps global state between calls
  std::lock_guard<std::mutex> guard(lldLock);
  TemporaryFolder folder;
  if (folder.error)
    return makeError(Code::CompileFailed, "no temporary folder to link in: {}", folder.error.message());
  std::string input = folder.file("kernels.o"), output = folder.file("kernels.so");
  if (std::error_code error = writeFile(input, object))
    return makeError(Code::CompileFailed, "cannot write {}: {}", input, error.message());
  std::string messages;
  llvm::raw_string_ostream log(messages);
  const char *arguments[] = {"ld.lld", "-shared",      "--hash-style=gnu", "--build-id=none",
                             "-z",     "noexecstack",  "--no-undefined",   "--threads=1",
                             "-o",     output.c_str(), input.c_str()};
  lld::Result result = lld::lldMain(arguments, log, log, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode != 0)
    return makeError(Code::CompileFailed, "lld cannot link the kernels: {}", messages);
  auto buffer = llvm::MemoryBuffer::getFile(output, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return makeError(Code::CompileFailed, "cannot read {}: {}", output, buffer.getError().message());
  return std::vector<uint8_t>((*buffer)->getBufferStart(), (*buffer)->getBufferEnd());
}

} // namespace moec::codegen
