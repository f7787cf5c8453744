#include "runtime/Compiler.h"

#include "compiler/core/Keys.h"
#include "runtime/CompilerLibrary.h"
#include "runtime/Version.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace moec {
namespace {

/// What the C callbacks get as `user`.
struct CallContext {
  CacheStore *cache;
  const std::function<bool()> *cancelled;
  const std::function<void(int, std::string_view)> *log;
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

int findInCache(void *user, const char *kind, const char *key, size_t keyLength,
                void (*give)(void *, const uint8_t *, size_t), void *giveTo) {
  auto *context = static_cast<CallContext *>(user);
  auto bytes = context->cache->find(kind, std::string(key, keyLength));
  if (!bytes)
    return 0;
  give(giveTo, bytes->data(), bytes->size());
  return 1;
}

void putIntoCache(void *user, const char *kind, const char *key, size_t keyLength, const uint8_t *bytes, size_t size) {
  auto *context = static_cast<CallContext *>(user);
  // A cache that cannot be written costs a compile next time, nothing else; the store counts it.
  (void)context->cache->put(kind, std::string(key, keyLength), {bytes, size}).ok();
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
      if (Result<Package> package = Package::parse(*bytes); package)
        return CompiledPackage{std::move(*package), true, millisecondsSince(start)};
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
    (void)options.cache->put("package", key, *bytes).ok(); // as putIntoCache
  return CompiledPackage{std::move(*package), false, millisecondsSince(start)};
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
    (void)options.cache->put(verb, key, *bytes).ok();
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
