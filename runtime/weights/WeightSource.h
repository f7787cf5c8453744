// Where a session's weights come from: a checkpoint, or numbers made up from a seed.
#pragma once

#include "compiler/core/LayerShape.h"
#include "runtime/weights/InputFile.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace moec {

/// Whether the ref's name has a `{e}`, so that the first dimension of its shape counts experts.
bool isPerExpert(const WeightRef &ref);

/// The name of the tensor that one expert's part has in the checkpoint's own (hub) layout: `{e}` replaced by
/// the expert's number. A name without `{e}` stays as it is.
std::string tensorName(const WeightRef &ref, uint32_t expert);

/// The shape of what one `read` delivers: the ref's shape, without its first dimension if the ref is per expert.
std::span<const int64_t> partShape(const WeightRef &ref);

/// Elements of what one `read` delivers. Errors: InvalidArgument (empty name, a negative dimension, more than
/// 2^60 elements or 2^20 experts, or a per-expert ref of rank 0).
Result<uint64_t> numPartElements(const WeightRef &ref);

/// A part as a matrix in blocks of 128 by 128 elements, the last ones smaller.
struct BlockGrid {
  uint64_t rows, columns; ///< elements
  uint64_t blockRows() const;
  uint64_t blockColumns() const;
  /// Of one part: blockRows() * blockColumns().
  uint64_t numScales() const { return blockRows() * blockColumns(); }
};

/// The blocks of what one `readBlockE4M3` delivers. Errors: InvalidArgument (as numPartElements, or a part that is no
/// matrix).
Result<BlockGrid> blockGrid(const WeightRef &ref);

/// Weights by name. Thread-safe: any number of threads may check, view and read at once. A ref's `format` says what the
/// model expects; a source may store the weight otherwise, and serves it all the same.
///
/// A ref with `{e}` in its name is read one expert at a time; `expert` is then below the ref's first dimension.
/// For any other ref `expert` is 0 and the whole tensor is read.
class WeightSource {
public:
  virtual ~WeightSource() = default;

  /// What the source is, for logs: the path, or the text of the random source.
  virtual std::string describe() const = 0;

  /// Whether every part of `ref` can be read: present, of the right shape, of a dtype that is computed with.
  /// Reads no data. Errors: as `read`.
  virtual Status check(const WeightRef &ref) const = 0;

  /// The part's elements where they lie, row-major, or null if they would have to be converted, gathered or made:
  /// then, and on any error, `read` is the way. Valid as long as the source; aligned to the dtype's size.
  virtual const void *view(const WeightRef &ref, uint32_t expert, DType want) const = 0;

  /// Writes the part's elements, row-major, as `want`. Widening is exact; narrowing rounds to nearest, ties to
  /// even.
  ///
  /// to  numPartElements(ref) * byteSize(want) bytes, of any alignment
  ///
  /// Errors: InvalidModel (no such tensor, another shape, or a dtype that isn't computed with; the message names
  /// tensor, expected and found), InvalidArgument (ref, expert or the size of `to` is wrong), Failure
  /// (reading failed).
  virtual Status read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const = 0;

  /// Writes the part, a matrix, as e4m3 codes and f32 scales: element [r, c] is the code's number times scale
  /// [r / 128, c / 128]. What is stored with a scale for 128 by 128 elements (or for the whole part) is delivered as it
  /// lies there, and these products, in f32, are then what `read` delivers. All else is quantised here from what `read`
  /// gives as F32 (QuantiseE4M3.h), up to 1/16 away from it (or 2^-10 of its block's scale).
  ///
  /// elements  [rows, columns], row-major
  /// scales    [ceil(rows / 128), ceil(columns / 128)], row-major; blockGrid(ref).numScales() of them
  ///
  /// Thread-safe, as `read`. Errors: as `read`, and InvalidArgument if the part is no matrix.
  ///
  /// A source that does not say otherwise quantises all, through a copy of the part in f32.
  virtual Status readBlockE4M3(const WeightRef &ref, uint32_t expert, std::span<uint8_t> elements,
                               std::span<float> scales) const;
};

/// Opens what `--weights` names: `random:seed=N[,std=S]` (see RandomWeights.h), or the path of a checkpoint (see
/// Checkpoint.h). A path that begins with "random:" is written "./random:...".
///
/// Errors: InvalidArgument (a malformed random source), else as Checkpoint::open.
Result<std::unique_ptr<WeightSource>> openWeights(const std::string &spec, ReadMode mode = ReadMode::Map);

} // namespace moec
