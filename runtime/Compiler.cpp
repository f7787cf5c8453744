#include "runtime/Compiler.h"

#include "compiler/core/Keys.h"
#include "runtime/CompilerLibrary.h"
#include "runtime/Version.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace moec {
namespace {

using Log = std::function<void(int, std::string_view)>;
constexpr int debugLevel = 1, infoLevel = 2, warnLevel = 3; // as in spdlog

template <class... Values>
void say(const Log &log, int level, fmt::format_string<const Values &...> text, const Values &...values) {
  if (log)
    log(level, fmt::format(text, values...));
}

/// What the C callbacks get as `user`.
struct CallContext {
  CacheStore *cache;
  const std::function<bool()> *cancelled;
  const Log *log;
};

int isCancelled(void *user) {
  auto *context = static_cast<CallContext *>(user);
  return *context->cancelled && (*context->cancelled)();
}

void logLine(void *user, int level, const char *text, size_t length) {
  auto *context = static_cast<CallContext *>(user);
  if (*context->log)
    (*context->log)(level, {text, length});
}

/// A cache that cannot be written costs a compile next time, nothing else.
void putInto(CacheStore &cache, const Log &log, const std::string &kind, const std::string &key,
             std::span<const uint8_t> bytes) {
  if (const Status status = cache.put(kind, key, bytes); !status.ok())
    say(log, warnLevel, "cache: {} {} is not kept: {}", kind, digest(key), status.message());
}

int findInCache(void *user, const char *kind, const char *key, size_t keyLength,
                void (*give)(void *, const uint8_t *, size_t), void *giveTo) {
  auto *context = static_cast<CallContext *>(user);
  const std::string text(key, keyLength);
  auto bytes = context->cache->find(kind, text);
  say(*context->log, debugLevel, "cache: {} {} {}", kind, digest(text), bytes ? "found" : "missing");
  if (!bytes)
    return 0;
  give(giveTo, bytes->data(), bytes->size());
  return 1;
}

void putIntoCache(void *user, const char *kind, const char *key, size_t keyLength, const uint8_t *bytes, size_t size) {
  auto *context = static_cast<CallContext *>(user);
  putInto(*context->cache, *context->log, kind, std::string(key, keyLength), {bytes, size});
}

double millisecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

std::string textOf(const std::vector<uint8_t> &bytes) { return {bytes.begin(), bytes.end()}; }

std::span<const uint8_t> bytesOf(const std::string &text) {
  return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

std::string dump(const nlohmann::json &json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace

Compiler::Compiler(Options given) : options(std::move(given)) {
  if (options.buildId.empty())
    options.buildId = versionText();
  if (options.library.empty() && !options.call)
    options.library = defaultCompilerLibrary("");
}

uint32_t Compiler::compilesAtOnce() const {
  return std::max(1u, std::min(options.jit.threads, options.jit.memoryMib / kJitMibPerThread));
}

Result<CompilerCall> Compiler::opened() {
  if (options.call)
    return options.call;
  Lock lock(libraryMutex);
  if (!library) {
    Result<CompilerCall> bound = openCompilerLibrary(options.library);
    if (!bound)
      return bound;
    library = std::move(*bound);
  }
  return library;
}

Result<std::vector<uint8_t>> Compiler::call(const char *verb, const std::string &request,
                                            const std::function<bool()> &cancelled) {
  Result<CompilerCall> compiler = opened();
  if (!compiler)
    return compiler.status();
  wasCalled.store(true, std::memory_order_relaxed);
  CallContext context{options.cache.get(), &cancelled, &options.log};
  MoecCompilerCallbacks callbacks{};
  callbacks.size = sizeof(callbacks);
  callbacks.user = &context;
  callbacks.cancelled = isCancelled;
  callbacks.log = logLine;
  callbacks.cacheFind = options.cache ? findInCache : nullptr;
  callbacks.cachePut = options.cache ? putIntoCache : nullptr;
  return (*compiler)(verb, bytesOf(request), callbacks);
}

CompileRequest Compiler::withJit(const CompileRequest &request) const {
  CompileRequest whole = request;
  whole.jit = options.jit;
  return whole;
}

Result<CompiledPackage> Compiler::compile(const CompileRequest &given, CompilePolicy policy,
                                          const std::function<bool()> &cancelled) {
  const CompileRequest request = withJit(given);
  const auto start = std::chrono::steady_clock::now();
  const std::string key = request.keyText(options.buildId);
  if (options.cache)
    if (auto bytes = options.cache->find("package", key))
      if (Result<Package> package = Package::parse(*bytes); package) {
        const double ms = millisecondsSince(start);
        say(options.log, infoLevel, "a package for {} came from the cache in {:.1f} ms", request.target.name, ms);
        return CompiledPackage{std::move(*package), true, ms};
      }
  if (policy == CompilePolicy::CacheOnly)
    return makeError(Code::CompileForbidden, "a package is missing from the cache and compiling is forbidden; it is {}",
                     digest(key));
  Result<std::vector<uint8_t>> bytes = call("compile", request.toJson(), cancelled);
  if (!bytes)
    return bytes.status();
  Result<Package> package = Package::parse(*bytes);
  if (!package)
    return package.status().withContext("the compiler's answer");
  if (options.cache)
    putInto(*options.cache, options.log, "package", key, *bytes);
  const double ms = millisecondsSince(start);
  say(options.log, infoLevel, "compiled {} layers for {} in {:.1f} ms, of which {} kernels were built",
      package->layers.size(), request.target.name, ms, package->kernelsBuilt);
  return CompiledPackage{std::move(*package), false, ms};
}

Result<std::string> Compiler::emit(const CompileRequest &request) {
  Result<std::vector<uint8_t>> bytes = call("compile", withJit(request).toJson(), {});
  if (!bytes)
    return bytes.status();
  return textOf(*bytes);
}

Result<std::string> Compiler::cachedText(const char *verb, const std::string &request, CompilePolicy policy) {
  const std::string key = fmt::format("{} build={}\n{}", verb, options.buildId, request);
  if (options.cache)
    if (auto bytes = options.cache->find(verb, key))
      return textOf(*bytes);
  if (policy == CompilePolicy::CacheOnly)
    return makeError(Code::CompileForbidden, "the answer to '{}' is missing from the cache and compiling is forbidden",
                     verb);
  Result<std::vector<uint8_t>> bytes = call(verb, request, {});
  if (!bytes)
    return bytes.status();
  if (options.cache)
    putInto(*options.cache, options.log, verb, key, *bytes);
  return textOf(*bytes);
}

Result<std::string> Compiler::import(const std::string &config, const std::string &name, uint32_t layers,
                                     CompilePolicy policy, bool plainWeights) {
  nlohmann::json request = {{"config", config}, {"name", name}, {"plain_weights", plainWeights}};
  Result<std::string> whole = cachedText("import", dump(request), policy);
  if (!whole || layers == 0)
    return whole;
  // The compiler takes layers by the model's own numbers, which its description tells.
  Result<ModelDescription> described = describe(*whole, policy);
  if (!described)
    return described.status();
  if (described->layers.size() <= layers)
    return whole;
  for (uint32_t index = 0; index < layers; ++index)
    request["layers"].push_back(described->layers[index].layer);
  return cachedText("import", dump(request), policy);
}

Result<ModelDescription> Compiler::describe(const std::string &model, CompilePolicy policy) {
  Result<std::string> text = cachedText("describe", dump({{"model", model}}), policy);
  if (!text)
    return text.status();
  return ModelDescription::fromJson(*text);
}

} // namespace moec
