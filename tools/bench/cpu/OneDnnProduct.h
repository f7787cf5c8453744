// Matrix products of oneDNN with weights packed ahead, made once per row count.
#pragma once

#include "compiler/core/LayerShape.h"
#include "runtime/memory/Region.h"

#include <dnnl.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace moec::bench {

/// Frees a handle of oneDNN.
template <auto Destroy> struct DnnlDestroy {
  template <typename T> void operator()(T *handle) const { (void)Destroy(handle); }
};
using DnnlMemory = std::unique_ptr<dnnl_memory, DnnlDestroy<dnnl_memory_destroy>>;
using DnnlPrimitive = std::unique_ptr<dnnl_primitive, DnnlDestroy<dnnl_primitive_destroy>>;
using DnnlPrimitiveDesc = std::unique_ptr<dnnl_primitive_desc, DnnlDestroy<dnnl_primitive_desc_destroy>>;

/// An error that names what was done; none for dnnl_success.
Status dnnlStatus(dnnl_status_t status, const char *what);

/// Where oneDNN runs.
struct DnnlPlace {
  dnnl_engine_t engine = nullptr;
  dnnl_stream_t stream = nullptr;
};

/// All experts' weights of one product, in every layout that was asked for.
class OneDnnWeights {
public:
  /// Writes expert `e`'s weights, [n, k] in the product's dtype, as checkpoints store them. Thread-safe.
  using Read = std::function<Status(uint32_t e, std::byte *to)>;

  OneDnnWeights(DnnlPlace place, dnnl_data_type_t type, uint32_t n, uint32_t k, uint32_t experts, int threads,
                Read read)
      : type(type), n(n), k(k), place(place), experts(experts), threads(threads), read(std::move(read)) {}

  /// The number of a layout; packs the weights if it is a new one. Errors: Failure (oneDNN's), ResourceExhausted, those
  /// of reading.
  Result<size_t> find(const dnnl_memory_desc_t &desc);
  dnnl_memory_t of(size_t layout, uint32_t expert) const { return layouts[layout]->expert[expert].get(); }

  size_t numLayouts() const { return layouts.size(); }
  uint64_t bytes() const;

  const dnnl_data_type_t type;
  const uint32_t n, k;
  const DnnlPlace place;

private:
  struct Layout {
    dnnl_memory_desc_t desc;
    Region memory;
    std::vector<DnnlMemory> expert;
  };
  Status pack(Layout &layout) const;

  uint32_t experts;
  int threads; // that pack
  Read read;
  std::vector<std::unique_ptr<Layout>> layouts;
};

/// [rows, k] times each expert's weights.
///
/// Each row count has a primitive of its own, and finds the weights in the layout that it asks for (format_tag::any).
/// Nothing is made or allocated by `run`.
class OneDnnProduct {
public:
  /// `threads`: of one call of `run`; more than one only where `run` is called outside of parallel sections.
  /// `callers`: how many threads may call `run` at once. `weights` outlives this.
  OneDnnProduct(OneDnnWeights &weights, int threads, unsigned callers)
      : weights(weights), threads(threads), callers(callers) {}

  /// Makes what `run` needs for this row count. Errors: Failure (oneDNN's), ResourceExhausted, those of reading
  /// weights.
  Status prepare(uint32_t rows);

  /// to [rows, n] = from [rows, k] times expert `e`'s weights. `rows` was prepared; `caller` is below `callers` and not
  /// used by another thread meanwhile.
  dnnl_status_t run(uint32_t rows, uint32_t expert, const std::byte *from, std::byte *to, unsigned caller);

  /// oneDNN's names of the implementations used, each once.
  const std::vector<std::string> &implementations() const { return names; }

private:
  struct Caller {
    DnnlMemory from, to, scratch;
  };
  struct Prepared {
    DnnlPrimitive primitive;
    size_t layout = 0;
    std::vector<Caller> callers;
    std::vector<Region> scratch;
  };

  void noteName(const_dnnl_primitive_desc_t desc);

  OneDnnWeights &weights;
  int threads;
  unsigned callers;
  std::vector<std::unique_ptr<Prepared>> ofRows; // by row count; null: not prepared
  std::vector<std::string> names;
};

} // namespace moec::bench
