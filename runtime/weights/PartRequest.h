// The checks of a request that all weight sources share.
#pragma once

#include "runtime/weights/Text.h"
#include "runtime/weights/WeightSource.h"

namespace moec {

/// Errors: InvalidArgument, if `ref` has no part `expert`.
inline Status checkPart(const WeightRef &ref, uint32_t expert) {
  if (Result<uint64_t> elements = numPartElements(ref); !elements)
    return elements.status();
  int64_t parts = isPerExpert(ref) ? ref.shape[0] : 1;
  if (expert >= parts)
    return makeError(Code::InvalidArgument, "weight {} has no part {}: it has {}", inQuotes(ref.name), expert, parts);
  return Status();
}

/// Errors: InvalidArgument, if `ref` has no part `expert` or if `bytes` is not that part's size as `want`.
inline Status checkPart(const WeightRef &ref, uint32_t expert, DType want, size_t bytes) {
  if (Status status = checkPart(ref, expert); !status.ok())
    return status;
  uint64_t needed = *numPartElements(ref) * byteSize(want);
  if (bytes != needed)
    return makeError(Code::InvalidArgument, "weight {}: a part of shape {} as {} takes {} bytes, but {} were given",
                     inQuotes(ref.name), shapeText(partShape(ref)), dtypeName(want), needed, bytes);
  return Status();
}

/// The part's blocks. Errors: InvalidArgument, if `ref` has no part `expert`, if that is no matrix, or if the rooms for
/// elements and scales are not of its sizes.
inline Result<BlockGrid> checkBlockPart(const WeightRef &ref, uint32_t expert, size_t elements, size_t scales) {
  if (Status status = checkPart(ref, expert); !status.ok())
    return status;
  Result<BlockGrid> grid = blockGrid(ref);
  if (grid && (elements != grid->rows * grid->columns || scales != grid->numScales()))
    return makeError(
        Code::InvalidArgument,
        "weight {}: a part of shape {} has {} e4m3 elements and {} scales, but there is room for {} and {}",
        inQuotes(ref.name), shapeText(partShape(ref)), grid->rows * grid->columns, grid->numScales(), elements, scales);
  return grid;
}

} // namespace moec
