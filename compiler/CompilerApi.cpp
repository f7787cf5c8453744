// The C boundary of libmoec-compiler.so: bytes in, bytes out (compiler/core/abi/CompilerApi.h).
#include "compiler/core/abi/CompilerApi.h"

#include "compiler/Compile.h"
#include "compiler/core/FieldsJson.h"
#include "compiler/core/Json.h"
#include "compiler/import/ImportConfig.h"
#include "compiler/jit/KernelBuild.h"

#include "llvm/Config/llvm-config.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

using namespace moec;

namespace {

MoecCompilerAnswer answer(Code code, const void *bytes, size_t size) {
  MoecCompilerAnswer result{static_cast<int32_t>(code), static_cast<uint8_t *>(std::malloc(size ? size : 1)), size};
  if (!result.bytes)
    return {static_cast<int32_t>(Code::ResourceExhausted), nullptr, 0};
  if (size)
    std::memcpy(result.bytes, bytes, size);
  return result;
}
MoecCompilerAnswer answer(const Status &status) {
  return answer(status.code(), status.message().data(), status.message().size());
}
MoecCompilerAnswer answer(const std::string &text) { return answer(Code::Ok, text.data(), text.size()); }
MoecCompilerAnswer answer(const Result<std::string> &text) { return text ? answer(*text) : answer(text.status()); }

/// LLVM's version, and NVRTC's where the request says how to look for it.
MoecCompilerAnswer callVersion(const std::string &request) {
  nlohmann::json json = {{"schema", "moec.compiler"}, {"schema_version", 1}, {"llvm", LLVM_VERSION_STRING}};
  Result<JsonDocument> document = JsonDocument::parse(request, "version request", Code::InvalidArgument);
  if (!document)
    return answer(document.status());
  JsonValue root = document->root();
  if (root.has("nvrtc_only")) {
    JitOptions jit;
    fieldsjson::read(root["nvrtc_only"], jit.nvrtcOnly);
    fieldsjson::read(root["nvrtc_also"], jit.nvrtcAlso);
    if (Status status = document->status(); !status.ok())
      return answer(status);
    Result<Nvrtc> nvrtc = openNvrtc(jit);
    json["nvrtc"] = {{"found", nvrtc.ok()},
                     {"path", nvrtc ? nvrtc->path() : ""},
                     {"version", nvrtc ? fmt::format("{}.{}", nvrtc->version().major, nvrtc->version().minor) : ""},
                     {"problem", nvrtc.status().message()}};
  }
  if (Status status = document->status(); !status.ok())
    return answer(status);
  return answer(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

constexpr const char *kImageKind = "kernels", *kNvrtcKind = "nvrtc"; // of cache entries

auto findOf(const MoecCompilerCallbacks *callbacks, const char *kind) {
  return [callbacks, kind](const std::string &key) -> std::optional<std::vector<uint8_t>> {
    std::vector<uint8_t> found;
    auto give = [](void *context, const uint8_t *bytes, size_t size) {
      static_cast<std::vector<uint8_t> *>(context)->assign(bytes, bytes + size);
    };
    if (!callbacks->cacheFind(callbacks->user, kind, key.data(), key.size(), give, &found))
      return std::nullopt;
    return found;
  };
}

auto putOf(const MoecCompilerCallbacks *callbacks, const char *kind) {
  return [callbacks, kind](const std::string &key, const std::vector<uint8_t> &bytes) {
    callbacks->cachePut(callbacks->user, kind, key.data(), key.size(), bytes.data(), bytes.size());
  };
}

/// The callbacks, as far as the caller's struct reaches.
CompileHooks hooksOf(const MoecCompilerCallbacks *callbacks) {
  CompileHooks hooks;
  if (!callbacks || callbacks->size < sizeof(MoecCompilerCallbacks))
    return hooks;
  if (callbacks->cancelled)
    hooks.cancelled = [callbacks] { return callbacks->cancelled(callbacks->user) != 0; };
  if (callbacks->cacheFind) {
    hooks.findImage = findOf(callbacks, kImageKind);
    hooks.findNvrtc = findOf(callbacks, kNvrtcKind);
  }
  if (callbacks->cachePut) {
    hooks.putImage = putOf(callbacks, kImageKind);
    hooks.putNvrtc = putOf(callbacks, kNvrtcKind);
  }
  return hooks;
}

MoecCompilerAnswer callCompile(const std::string &request, const MoecCompilerCallbacks *callbacks) {
  Result<CompileRequest> parsed = CompileRequest::fromJson(request);
  if (!parsed)
    return answer(parsed.status());
  if (parsed->emit != "package" || !parsed->stopAfter.empty())
    return answer(compileToText(*parsed));
  Result<Package> package = compile(*parsed, hooksOf(callbacks));
  if (!package)
    return answer(package.status());
  std::vector<uint8_t> bytes = package->serialise();
  return answer(Code::Ok, bytes.data(), bytes.size());
}

MoecCompilerAnswer callImport(const std::string &request) {
  Result<JsonDocument> document = JsonDocument::parse(request, "import request", Code::InvalidArgument);
  if (!document)
    return answer(document.status());
  JsonValue root = document->root();
  std::string config = root["config"].text();
  ImportOptions options;
  options.name = root["name"].text();
  if (root.has("layers"))
    options.layers = root["layers"].integers<uint32_t>();
  options.plainWeights = root.has("plain_weights") && root["plain_weights"].flag();
  if (Status status = document->status(); !status.ok())
    return answer(status);
  return answer(importConfig(config, options));
}

MoecCompilerAnswer callDescribe(const std::string &request) {
  Result<JsonDocument> document = JsonDocument::parse(request, "describe request", Code::InvalidArgument);
  if (!document)
    return answer(document.status());
  std::string model = document->root()["model"].text();
  if (Status status = document->status(); !status.ok())
    return answer(status);
  Result<ModelDescription> description = describe(model);
  return description ? answer(description->toJson()) : answer(description.status());
}

} // namespace

extern "C" {

__attribute__((visibility("default"))) MoecCompilerAnswer
moec_compiler_call_v1(const char *verb, const uint8_t *request, size_t size, const MoecCompilerCallbacks *callbacks) {
  std::string text(reinterpret_cast<const char *>(request), size), name(verb ? verb : "");
  if (name == "compile")
    return callCompile(text, callbacks);
  if (name == "import")
    return callImport(text);
  if (name == "describe")
    return callDescribe(text);
  if (name == "version")
    return callVersion(text);
  return answer(makeError(Code::InvalidArgument, "the compiler has no verb '{}'", name));
}

__attribute__((visibility("default"))) void moec_compiler_release_v1(MoecCompilerAnswer *answer) {
  std::free(answer->bytes);
  *answer = {0, nullptr, 0};
}

} // extern "C"
