#include "compiler/jit/KernelArtefact.h"

#include "compiler/core/Bytes.h"
#include "compiler/core/FieldsJson.h"
#include "compiler/core/Keys.h"
#include "compiler/jit/EmbeddedKernels.h"

#include <fmt/ranges.h>

namespace moec {

namespace {

/// What stands before the cubin.
struct Header {
  std::string symbol;
  KernelResources resources;
};

template <typename Archive, Is<Header> T> void fields(Archive &archive, T &header) {
  archive.field("symbol", header.symbol);
  archive.field("resources", header.resources);
}

/// Each text with its length before it, so that no two sets of headers read the same.
std::string headersDigest() {
  ByteWriter all;
  for (const EmbeddedHeader &header : embeddedKernels())
    for (const std::string &text : {std::string(header.name), std::string(header.text)}) {
      all.u64(text.size());
      all.raw(text);
    }
  return digest(all.bytes());
}

} // namespace

Result<std::string> kernelKey(const KernelJob &job, NvrtcVersion nvrtc, const NvrtcOptions &options,
                              const std::string &nvrtcFlags) {
  Result<std::string> source = unitSource(job.unit);
  if (!source)
    return source;
  Result<std::vector<std::string>> arguments = Nvrtc::compileOptions(options);
  if (!arguments)
    return arguments.status();
  static const std::string headers = headersDigest(); // of constants
  CudaArtefactKey key;
  key.kernel = fmt::format("{}", fmt::join(job.unit.kernels, " "));
  key.source = *source;
  key.headers = headers;
  key.options = fmt::format("{}", fmt::join(*arguments, " "));
  key.compiler = fmt::format("nvrtc {}.{}", nvrtc.major, nvrtc.minor);
  key.flags = nvrtcFlags;
  key.abiVersion = kCudaAbiVersion;
  return key.text();
}

std::vector<uint8_t> writeArtefact(const BuiltKernel &kernel) {
  const std::string header = fieldsjson::write(Header{kernel.symbol, kernel.resources}).dump();
  ByteWriter writer;
  writer.u32(static_cast<uint32_t>(header.size()));
  writer.raw(header);
  writer.raw(kernel.cubin);
  return writer.take();
}

Status readArtefact(std::span<const uint8_t> bytes, BuiltKernel &kernel) {
  ByteReader reader(bytes);
  const std::string text = reader.text(reader.u32());
  if (!reader.ok())
    return makeError(Code::CacheCorrupt, "kernel artefact is truncated: {} bytes", bytes.size());
  Result<JsonDocument> document = JsonDocument::parse(text, "kernel artefact", Code::CacheCorrupt);
  if (!document)
    return document.status();
  Header header;
  fieldsjson::read(document->root(), header);
  if (Status status = document->status(); !status.ok())
    return status;
  const std::span<const uint8_t> cubin = reader.raw(reader.remaining());
  kernel.symbol = std::move(header.symbol);
  kernel.resources = header.resources;
  kernel.cubin.assign(cubin.begin(), cubin.end());
  return {};
}

} // namespace moec
