// The compiler as the runtime sees it: bytes in, bytes out, answered from the cache where that can be.
#pragma once

#include "compiler/core/CacheStore.h"
#include "compiler/core/CompileRequest.h"
#include "compiler/core/ModelDescription.h"
#include "compiler/core/Package.h"
#include "compiler/core/ThreadSafety.h"
#include "compiler/core/abi/CompilerApi.h"

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace moec {

/// One call over the C boundary: verb, request and callbacks to answer bytes. Tests hand in their own.
using CompilerCall = std::function<Result<std::vector<uint8_t>>(const char *verb, std::span<const uint8_t> request,
                                                                const MoecCompilerCallbacks &callbacks)>;

/// Whether a call may compile, or must be answered from the cache.
enum class CompilePolicy : uint8_t { Allowed, CacheOnly };

struct CompiledPackage {
  Package package;
  bool cacheHit = false;
  double milliseconds = 0; // of the whole call, as the caller waits
};

/// Thread-safe. The compiler's library is opened on the first call that the cache cannot answer, never before, and
/// stays open.
class Compiler {
public:
  struct Options {
    std::string library;               // path of libmoec-compiler.so; empty: beside this program
    std::shared_ptr<CacheStore> cache; // null: nothing is kept
    CompilerCall call;                 // instead of the library
    JitOptions jit;                    // of every request that goes out: how kernels for GPUs are compiled
    std::string buildId;               // part of every key; empty: this build's versionText()
    std::function<void(int level, std::string_view text)> log; // the compiler's lines; level as in spdlog
  };

  explicit Compiler(Options options);

  /// Errors: CompileForbidden (CacheOnly and not in the cache), CompileFailed, InvalidModel, Cancelled, DeviceMissing
  /// (the library cannot be opened).
  Result<CompiledPackage> compile(const CompileRequest &request, CompilePolicy policy = CompilePolicy::Allowed,
                                  const std::function<bool()> &cancelled = {});
  /// What `request.emit` and `request.stopAfter` ask for, as text; not cached.
  Result<std::string> emit(const CompileRequest &request);
  /// A model description from the text of a Hugging Face config.json; `layers` 0: all; `plainWeights` as in
  /// Model::Options.
  Result<std::string> import(const std::string &config, const std::string &name, uint32_t layers,
                             CompilePolicy policy = CompilePolicy::Allowed, bool plainWeights = false);
  Result<ModelDescription> describe(const std::string &model, CompilePolicy policy = CompilePolicy::Allowed);

  /// Whether the library, or what stands for it, was called yet.
  bool called() const { return wasCalled.load(std::memory_order_relaxed); }
  CacheStore *cache() const { return options.cache.get(); }
  const std::string &buildId() const { return options.buildId; }
  /// How many compiles of one GPU kernel each the options have threads and memory for.
  uint32_t compilesAtOnce() const;

private:
  Result<std::vector<uint8_t>> call(const char *verb, const std::string &request,
                                    const std::function<bool()> &cancelled);
  CompileRequest withJit(const CompileRequest &request) const;
  Result<std::string> cachedText(const char *verb, const std::string &request, CompilePolicy policy);
  Result<CompilerCall> opened() MOEC_EXCLUDES(libraryMutex);

  Options options;
  std::atomic<bool> wasCalled{false};
  Mutex libraryMutex; // held while the library is opened, so that threads open it once
  CompilerCall library MOEC_GUARDED_BY(libraryMutex);
};

/// `MOEC_COMPILER_LIBRARY`, else libmoec-compiler.so in lib/ beside this program's folder or where this library is.
std::string defaultCompilerLibrary(const std::string &fromEnvironment);

} // namespace moec
