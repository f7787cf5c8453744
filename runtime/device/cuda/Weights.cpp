#include "runtime/device/cuda/Weights.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/JoinedShared.h"
#include "runtime/weights/Convert.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace moec {
namespace {

constexpr uint64_t uploadBytes = 16 << 20; // large enough for the bus's full rate
constexpr uint32_t mostPlanes = 3;         // an f32 is the sum of three bf16, exactly

/// Adds sizes up first, then hands out addresses.
class Places {
public:
  explicit Places(CUdeviceptr base = 0) : base(base) {}
  CUdeviceptr take(uint64_t bytes) {
    const uint64_t offset = used;
    used += (bytes + 255) / 256 * 256;
    return bytes ? base + offset : 0;
  }
  uint64_t bytes() const { return used; }

private:
  CUdeviceptr base;
  uint64_t used = 0;
};

/// The router's weight and the shared expert's gate as planes: each the rounded rest of those before.
struct RouterRows {
  std::vector<std::vector<std::byte>> router, shared; // [planes]
};

class LayerUpload {
public:
  LayerUpload(const LayerDescription &layer, const WeightSource &source, Uploader &uploader, bool e4m3)
      : layer(layer), shape(layer.shape), source(source), uploader(uploader), e4m3(e4m3) {}

  Result<std::shared_ptr<const CudaWeights>> run(const DeviceMemory &memory) {
    RouterRows rows;
    MOEC_TRY(readRouter(rows));
    auto weights = std::make_shared<CudaWeights>();
    weights->planes = static_cast<uint32_t>(std::max<size_t>(1, rows.router.size()));
    Places sizes;
    place(*weights, sizes);
    Result<DeviceBuffer> buffer = memory.allocate(sizes.bytes(), fmt::format("weights of layer {}", layer.layer));
    if (!buffer)
      return buffer.status();
    weights->memory = std::move(*buffer);
    Places places(weights->memory.address());
    place(*weights, places);
    const Status uploaded = upload(*weights, rows), finished = uploader.finish(); // before the memory may go
    MOEC_TRY(uploaded);
    MOEC_TRY(finished);
    return std::shared_ptr<const CudaWeights>(std::move(weights));
  }

private:
  uint64_t matrixElements(uint32_t inner) const { return uint64_t{paddedForCuda(inner)} * paddedForCuda(shape.hidden); }
  uint64_t expertBytes() const { return matrixElements(shape.intermediate) * (e4m3 ? 1 : byteSize(shape.dtype)); }
  uint64_t sharedBytes() const {
    return joinsShared(shape) ? 0 : matrixElements(shape.sharedIntermediate) * byteSize(shape.dtype);
  }
  /// Scales of one matrix of an expert, f32.
  uint64_t scaleBytes() const {
    return e4m3 ? uint64_t{ceilDivide(shape.intermediate, kFp8Block)} * ceilDivide(shape.hidden, kFp8Block) *
                      sizeof(float)
                : 0;
  }

  static uint64_t biasBytes(uint32_t columns) { return uint64_t{paddedForCuda(columns)} * sizeof(float); }

  void place(CudaWeights &weights, Places &places) const {
    const LayerWeights &refs = layer.weights;
    const uint64_t elementBytes = byteSize(shape.dtype), rowBytes = paddedForCuda(shape.hidden) * elementBytes;
    // In this order: fitted kernels read gate and up through one map, which reaches from gate on.
    for (CUdeviceptr *matrix : {&weights.gate, &weights.up, &weights.down})
      *matrix = places.take(groupedExperts(shape) * expertBytes());
    for (CUdeviceptr *scales : {&weights.gateScales, &weights.upScales, &weights.downScales})
      *scales = places.take(groupedExperts(shape) * scaleBytes());
    for (CUdeviceptr *matrix : {&weights.sharedGate, &weights.sharedUp, &weights.sharedDown})
      *matrix = places.take(sharedBytes());
    for (auto [biases, columns] :
         {std::pair(&weights.gateBias, shape.intermediate), std::pair(&weights.upBias, shape.intermediate),
          std::pair(&weights.downBias, shape.hidden)})
      *biases = places.take(shape.expertBias ? shape.experts * biasBytes(columns) : 0);
    weights.router = places.take(refs.router.name.empty() ? 0 : weights.planes * shape.experts * rowBytes);
    weights.sharedRouter = places.take(shape.sharedGate ? weights.planes * rowBytes : 0);
    weights.routerBias = places.take(layer.router.routerBias ? shape.experts * sizeof(float) : 0);
    weights.correctionBias = places.take(layer.router.correctionBias ? shape.experts * sizeof(float) : 0);
  }

  Status upload(const CudaWeights &weights, const RouterRows &rows) {
    const LayerWeights &refs = layer.weights;
    const uint32_t joined = joinsShared(shape) ? 1 : 0;
    for (uint32_t e = 0; e < shape.experts; ++e)
      MOEC_TRY(expert({refs.gate, refs.up, refs.down}, e, joined + e, weights));
    if (joined)
      MOEC_TRY(expert({refs.sharedGate, refs.sharedUp, refs.sharedDown}, 0, 0, weights));
    MOEC_TRY(expertBiases(refs.gateBias, "gate's bias", shape.intermediate, weights.gateBias));
    MOEC_TRY(expertBiases(refs.upBias, "up projection's bias", shape.intermediate, weights.upBias));
    MOEC_TRY(expertBiases(refs.downBias, "down projection's bias", shape.hidden, weights.downBias));
    if (shape.sharedIntermediate && !joined) {
      const Matrix in{shape.sharedIntermediate, shape.hidden}, out{shape.hidden, shape.sharedIntermediate};
      MOEC_TRY(part(refs.sharedGate, 0, weights.sharedGate, in));
      MOEC_TRY(part(refs.sharedUp, 0, weights.sharedUp, in));
      MOEC_TRY(part(refs.sharedDown, 0, weights.sharedDown, out));
    }
    MOEC_TRY(planes(rows.router, weights.router));
    MOEC_TRY(planes(rows.shared, weights.sharedRouter));
    MOEC_TRY(bias(refs.routerBias, "router bias", weights.routerBias));
    return bias(refs.correctionBias, "correction bias", weights.correctionBias);
  }

  struct Matrix {
    uint32_t rows, columns;
  };

  struct ExpertRefs {
    const WeightRef &gate, &up, &down;
  };

  /// What the tensors hold of expert `expert`, as number `place` of the grouped products'.
  Status expert(const ExpertRefs &refs, uint32_t expert, uint32_t place, const CudaWeights &weights) {
    const Matrix inward{shape.intermediate, shape.hidden}, outward{shape.hidden, shape.intermediate};
    MOEC_TRY(expertPart(refs.gate, expert, place, weights.gate, weights.gateScales, inward));
    MOEC_TRY(expertPart(refs.up, expert, place, weights.up, weights.upScales, inward));
    return expertPart(refs.down, expert, place, weights.down, weights.downScales, outward);
  }

  /// One of its matrices, of all of which the first is at `to`, and its scales where there are some.
  Status expertPart(const WeightRef &ref, uint32_t expert, uint32_t place, CUdeviceptr to, CUdeviceptr scales,
                    Matrix matrix) {
    to += place * expertBytes();
    if (!e4m3)
      return part(ref, expert, to, matrix);
    MOEC_TRY(checkSize(ref, matrix)); // what is multiplied in e4m3 has no padding (hasE4M3Kernels)
    codes.resize(uint64_t{matrix.rows} * matrix.columns);
    blockScales.resize(scaleBytes() / sizeof(float));
    MOEC_TRY(source.readBlockE4M3(ref, expert, codes, blockScales));
    MOEC_TRY(uploader.copy(to, codes.data(), codes.size()));
    return uploader.copy(scales + place * scaleBytes(), blockScales.data(), scaleBytes());
  }

  static Status checkSize(const WeightRef &ref, Matrix matrix) {
    Result<uint64_t> elements = numPartElements(ref);
    MOEC_TRY(elements.status());
    if (*elements != uint64_t{matrix.rows} * matrix.columns)
      return makeError(Code::InvalidModel, "weight '{}' has {} elements an expert, the layer needs {}", ref.name,
                       *elements, uint64_t{matrix.rows} * matrix.columns);
    return {};
  }

  /// One tensor or one expert's part of it, in the layer's dtype.
  Status part(const WeightRef &ref, uint32_t expert, CUdeviceptr to, Matrix matrix) {
    MOEC_TRY(checkSize(ref, matrix));
    const uint64_t bytes = uint64_t{matrix.rows} * matrix.columns * byteSize(shape.dtype);
    const void *stored = source.view(ref, expert, shape.dtype);
    if (!stored) {
      scratch.resize(bytes);
      MOEC_TRY(source.read(ref, expert, shape.dtype, {scratch.data(), bytes}));
      stored = scratch.data();
    }
    const Matrix whole{paddedForCuda(matrix.rows), paddedForCuda(matrix.columns)};
    if (whole.rows == matrix.rows && whole.columns == matrix.columns)
      return uploader.copy(to, stored, bytes);
    const uint64_t from = matrix.columns * byteSize(shape.dtype), padded = whole.columns * byteSize(shape.dtype);
    paddedRows.assign(whole.rows * padded, std::byte{0});
    for (uint32_t row = 0; row < matrix.rows; ++row)
      std::memcpy(&paddedRows[row * padded], static_cast<const std::byte *>(stored) + row * from, from);
    return uploader.copy(to, paddedRows.data(), paddedRows.size());
  }

  /// Of every expert, rows padded as the products' columns are.
  Status expertBiases(const WeightRef &ref, const char *what, uint32_t columns, CUdeviceptr to) {
    if (!to)
      return {};
    std::vector<float> all(shape.experts * biasBytes(columns) / sizeof(float));
    for (uint32_t e = 0; e < shape.experts; ++e) {
      Result<std::vector<float>> values = readFloats(ref, what, columns, e);
      if (!values)
        return values.status();
      std::copy(values->begin(), values->end(), all.begin() + e * uint64_t{paddedForCuda(columns)});
    }
    return uploader.copy(to, all.data(), all.size() * sizeof(float));
  }

  Result<std::vector<float>> readFloats(const WeightRef &ref, const char *what, uint64_t length, uint32_t expert = 0) {
    Result<uint64_t> elements = numPartElements(ref);
    if (!elements)
      return elements.status();
    if (*elements != length)
      return makeError(Code::InvalidModel, "the {} '{}' has {} elements, the layer needs {}", what, ref.name, *elements,
                       length);
    std::vector<float> values(length);
    MOEC_TRY(source.read(ref, expert, DType::F32, std::as_writable_bytes(std::span(values))));
    return values;
  }

  Status bias(const WeightRef &ref, const char *what, CUdeviceptr to) {
    if (!to)
      return {};
    Result<std::vector<float>> values = readFloats(ref, what, shape.experts);
    if (!values)
      return values.status();
    return uploader.copy(to, values->data(), values->size() * sizeof(float));
  }

  Status planes(const std::vector<std::vector<std::byte>> &rows, CUdeviceptr to) {
    for (const std::vector<std::byte> &plane : rows) {
      MOEC_TRY(uploader.copy(to, plane.data(), plane.size()));
      to += plane.size();
    }
    return {};
  }

  Status readRouter(RouterRows &rows) {
    // As [rows, H], H rounded up.
    std::vector<float> router, shared;
    if (!layer.weights.router.name.empty()) {
      Result<std::vector<float>> read =
          readFloats(layer.weights.router, "router", uint64_t{shape.experts} * shape.hidden);
      if (!read)
        return read.status();
      router = withPaddedRows(*read);
    }
    if (shape.sharedGate) {
      Result<std::vector<float>> read = readFloats(layer.weights.sharedRouter, "shared expert's gate", shape.hidden);
      if (!read)
        return read.status();
      shared = withPaddedRows(*read);
    }
    // Both have as many planes as either needs.
    while (rows.router.size() < mostPlanes) {
      const bool restOfRouter = peel(router, rows.router), restOfShared = peel(shared, rows.shared);
      if (!restOfRouter && !restOfShared)
        break;
    }
    if (router.empty())
      rows.router.clear();
    if (shared.empty())
      rows.shared.clear();
    return {};
  }

  std::vector<float> withPaddedRows(const std::vector<float> &values) const {
    const uint32_t columns = shape.hidden, padded = paddedForCuda(columns);
    std::vector<float> rows(values.size() / columns * padded);
    for (size_t row = 0; row < values.size() / columns; ++row)
      std::copy_n(&values[row * columns], columns, &rows[row * padded]);
    return rows;
  }

  /// Moves the rounded values into a new plane; `values` keeps what is left. Whether anything is.
  bool peel(std::vector<float> &values, std::vector<std::vector<std::byte>> &to) const {
    std::vector<std::byte> plane(values.size() * byteSize(shape.dtype));
    std::vector<float> rounded(values.size());
    convert(values.data(), DType::F32, plane.data(), shape.dtype, values.size());
    convert(plane.data(), shape.dtype, rounded.data(), DType::F32, values.size());
    bool rest = false;
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] -= rounded[i];
      rest |= values[i] != 0;
    }
    to.push_back(std::move(plane));
    return rest;
  }

  const LayerDescription &layer;
  const LayerShape &shape;
  const WeightSource &source;
  Uploader &uploader;
  const bool e4m3;
  std::vector<std::byte> scratch, paddedRows;
  std::vector<uint8_t> codes;
  std::vector<float> blockScales;
};

} // namespace

Result<std::unique_ptr<Uploader>> Uploader::make(std::shared_ptr<const CudaDriver> driver) {
  auto uploader = std::make_unique<Uploader>();
  uploader->driver = driver;
  Result<CudaStream> stream = makeStream(driver);
  Result<CudaEvent> finished = makeEvent(driver, false);
  MOEC_TRY(stream.status());
  MOEC_TRY(finished.status());
  uploader->queue = std::move(*stream);
  uploader->finished = std::move(*finished);
  for (Stage &stage : uploader->stages) {
    Result<PinnedBuffer> buffer = PinnedBuffer::allocate(driver, uploadBytes, "uploading weights");
    Result<CudaEvent> copied = makeEvent(driver, false);
    MOEC_TRY(buffer.status());
    MOEC_TRY(copied.status());
    stage.buffer = std::move(*buffer);
    stage.copied = std::move(*copied);
  }
  return uploader;
}

Status Uploader::copy(CUdeviceptr to, const void *from, uint64_t bytes) {
  for (uint64_t begin = 0; begin < bytes; begin += uploadBytes) {
    const uint64_t size = std::min(uploadBytes, bytes - begin);
    Stage &stage = stages[next++ % 2];
    if (stage.busy)
      MOEC_TRY(waitFor(*driver, stage.copied.get()));
    std::memcpy(stage.buffer.data(), static_cast<const std::byte *>(from) + begin, size);
    MOEC_CUDA(*driver, cuMemcpyHtoDAsync, (to + begin, stage.buffer.data(), size, queue.get()), "uploading {} bytes",
              size);
    MOEC_CUDA(*driver, cuEventRecord, (stage.copied.get(), queue.get()), "after an upload");
    stage.busy = true;
  }
  return {};
}

Status Uploader::finish() {
  MOEC_CUDA(*driver, cuEventRecord, (finished.get(), queue.get()), "after uploads");
  return waitFor(*driver, finished.get());
}

Result<std::shared_ptr<const CudaWeights>> uploadWeights(const LayerDescription &layer, const WeightSource &source,
                                                         const DeviceMemory &memory, Uploader &uploader, bool e4m3) {
  Result<std::shared_ptr<const CudaWeights>> weights = LayerUpload(layer, source, uploader, e4m3).run(memory);
  if (!weights)
    return weights.status().withContext("layer {}", layer.layer);
  return weights;
}

} // namespace moec
