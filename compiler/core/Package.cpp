#include "compiler/core/Package.h"

#include "compiler/core/Bytes.h"
#include "compiler/core/Digest.h"
#include "compiler/core/PackageJson.h"
#include "compiler/kernels/KernelAbi.h"

namespace moec {

namespace {

constexpr char magic[] = "MOECPKG\n";
constexpr size_t magicBytes = sizeof magic - 1;
// JSON takes some 30 bytes of memory a byte of text; real manifests are below 10 MB.
constexpr uint64_t maxManifestBytes = uint64_t{256} << 20;

/// The lengths that follow magic and version.
struct Sections {
  uint64_t manifest = 0, modelText = 0, requestKey = 0, images = 0;

  static constexpr size_t bytes = 4 * 8;
  static constexpr size_t headerBytes = magicBytes + 4 + bytes;

  /// Whether the sections and the checksum are exactly what follows the header; told apart for the
  /// message.
  Status check(uint64_t following) const {
    uint64_t left = following;
    for (uint64_t section : {manifest, modelText, requestKey, images, sizeof(DigestBytes)}) {
      if (section > left)
        return makeError(Code::CacheCorrupt, "package is truncated: {} bytes after its header", following);
      left -= section;
    }
    if (left > 0)
      return makeError(Code::CacheCorrupt, "package has {} bytes after its end", left);
    if (manifest > maxManifestBytes)
      return makeError(Code::CacheCorrupt, "package manifest has {} bytes, more than {}", manifest, maxManifestBytes);
    return {};
  }
};

Status readHeader(ByteReader &reader, Sections &sections) {
  if (reader.remaining() < Sections::headerBytes)
    return makeError(Code::CacheCorrupt, "package is truncated: {} bytes", reader.remaining());
  if (reader.text(magicBytes) != magic)
    return makeError(Code::CacheCorrupt, "not a package: wrong magic");
  if (uint32_t version = reader.u32(); version != kPackageVersion)
    return makeError(Code::InvalidArgument, "package version {} is not supported, only {}", version, kPackageVersion);
  sections = {reader.u64(), reader.u64(), reader.u64(), reader.u64()};
  return sections.check(reader.remaining());
}

Status readImages(ByteReader &reader, const std::vector<uint64_t> &sizes, Package &package) {
  for (size_t index = 0; index < sizes.size(); ++index) {
    std::span<const uint8_t> image = reader.raw(sizes[index]);
    if (!reader.ok())
      return makeError(Code::CacheCorrupt, "package image {} is longer than the images' section", index);
    package.images[index].bytes.assign(image.begin(), image.end());
  }
  if (reader.remaining() > 0)
    return makeError(Code::CacheCorrupt, "package has {} image bytes that belong to no image", reader.remaining());
  return {};
}

} // namespace

uint32_t kernelAbiOf(DeviceKind device) { return device == DeviceKind::Cuda ? kCudaAbiVersion : kCpuAbiVersion; }

const char *launchName(LaunchKind kind) {
  switch (kind) {
  case LaunchKind::Router: return "router";
  case LaunchKind::Route: return "route";
  case LaunchKind::Dispatch: return "dispatch";
  case LaunchKind::GateUp: return "gate-up";
  case LaunchKind::Down: return "down";
  case LaunchKind::SharedGateUp: return "shared-gate-up";
  case LaunchKind::SharedDown: return "shared-down";
  case LaunchKind::Store: return "store";
  }
  return "unknown";
}

std::vector<uint8_t> Package::serialise() const {
  std::string manifest = writeManifest(*this);
  uint64_t imageBytes = 0;
  for (const Image &image : images)
    imageBytes += image.bytes.size();

  ByteWriter writer;
  writer.reserve(Sections::headerBytes + manifest.size() + modelText.size() + requestKey.size() + imageBytes +
                 sizeof(DigestBytes));
  writer.raw(std::string(magic));
  writer.u32(kPackageVersion);
  for (uint64_t length :
       {uint64_t{manifest.size()}, uint64_t{modelText.size()}, uint64_t{requestKey.size()}, imageBytes})
    writer.u64(length);
  writer.raw(manifest);
  writer.raw(modelText);
  writer.raw(requestKey);
  for (const Image &image : images)
    writer.raw(image.bytes);
  writer.raw(digestBytes(writer.bytes()));
  return writer.take();
}

Result<Package> Package::parse(std::span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  Sections sections;
  if (Status status = readHeader(reader, sections); !status.ok())
    return status;
  size_t checked = bytes.size() - sizeof(DigestBytes);
  DigestBytes found = digestBytes(bytes.first(checked));
  if (!std::equal(found.begin(), found.end(), bytes.begin() + static_cast<std::ptrdiff_t>(checked)))
    return makeError(Code::CacheCorrupt, "package checksum does not match: the file is damaged");

  Package package;
  std::vector<uint64_t> imageSizes;
  if (Status status = readManifest(reader.text(sections.manifest), package, imageSizes); !status.ok())
    return status;
  package.modelText = reader.text(sections.modelText);
  package.requestKey = reader.text(sections.requestKey);
  ByteReader images(reader.raw(sections.images));
  if (Status status = readImages(images, imageSizes, package); !status.ok())
    return status;
  return package;
}

} // namespace moec
