#include "tools/bench/cpu/OneDnnProduct.h"

#include "tools/bench/cpu/Gomp.h"

#include <algorithm>

namespace moec::bench {

namespace {

constexpr uint64_t alignment = 64;
uint64_t aligned(uint64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

Result<dnnl_memory_desc_t> describe(uint32_t rows, uint32_t columns, dnnl_data_type_t type, dnnl_format_tag_t tag) {
  const dnnl_dims_t dims = {rows, columns};
  dnnl_memory_desc_t desc;
  if (Status status = dnnlStatus(dnnl_memory_desc_init_by_tag(&desc, 2, dims, type, tag), "a matrix"); !status.ok())
    return status;
  return desc;
}

Result<DnnlMemory> makeMemory(dnnl_engine_t engine, const dnnl_memory_desc_t &desc, void *handle) {
  dnnl_memory_t made = nullptr;
  if (Status status = dnnlStatus(dnnl_memory_create(&made, &desc, engine, handle), "a memory object"); !status.ok())
    return status;
  return DnnlMemory(made);
}

} // namespace

Status dnnlStatus(dnnl_status_t status, const char *what) {
  if (status == dnnl_success)
    return {};
  return makeError(status == dnnl_out_of_memory ? Code::ResourceExhausted : Code::Failure, "oneDNN, {}: status {}",
                   what, static_cast<int>(status));
}

Result<size_t> OneDnnWeights::find(const dnnl_memory_desc_t &desc) {
  for (size_t index = 0; index < layouts.size(); ++index)
    if (dnnl_memory_desc_equal(&layouts[index]->desc, &desc))
      return index;
  auto layout = std::make_unique<Layout>();
  layout->desc = desc;
  if (Status status = pack(*layout); !status.ok())
    return status;
  layouts.push_back(std::move(layout));
  return layouts.size() - 1;
}

Status OneDnnWeights::pack(Layout &layout) const {
  const uint64_t bytes = aligned(dnnl_memory_desc_get_size(&layout.desc));
  const uint64_t storedBytes = aligned(uint64_t{n} * k * (type == dnnl_bf16 ? 2 : 4));
  Result<Region> packed = Region::map(bytes * experts, "oneDNN's weights");
  Result<Region> stored = Region::map(storedBytes * static_cast<uint64_t>(threads), "an expert's weights");
  Result<dnnl_memory_desc_t> storedDesc = describe(k, n, type, dnnl_ba); // [n, k] rows are columns of the product
  if (!packed || !stored || !storedDesc)
    return !packed ? packed.status() : !stored ? stored.status() : storedDesc.status();
  layout.memory = std::move(*packed);
  omp_set_num_threads(1); // each thread reorders experts of its own
  dnnl_primitive_desc_t made = nullptr;
  if (Status status = dnnlStatus(
          dnnl_reorder_primitive_desc_create(&made, &*storedDesc, place.engine, &layout.desc, place.engine, nullptr),
          "choosing a reorder");
      !status.ok())
    return status;
  DnnlPrimitiveDesc desc(made);
  dnnl_primitive_t primitive = nullptr;
  if (Status status = dnnlStatus(dnnl_primitive_create(&primitive, made), "making a reorder"); !status.ok())
    return status;
  DnnlPrimitive reorder(primitive);
  std::vector<DnnlMemory> from;
  for (int thread = 0; thread < threads; ++thread) {
    Result<DnnlMemory> object =
        makeMemory(place.engine, *storedDesc, stored->data() + static_cast<uint64_t>(thread) * storedBytes);
    if (!object)
      return object.status();
    from.push_back(std::move(*object));
  }
  for (uint32_t e = 0; e < experts; ++e) {
    Result<DnnlMemory> to = makeMemory(place.engine, layout.desc, layout.memory.data() + e * bytes);
    if (!to)
      return to.status();
    layout.expert.push_back(std::move(*to));
  }
  std::vector<Status> failures(experts);
  omp_set_num_threads(threads);
  gompFor(experts, [&](uint32_t e, unsigned thread) {
    failures[e] = read(e, stored->data() + thread * storedBytes);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from[thread].get()}, {DNNL_ARG_TO, layout.expert[e].get()}};
    if (failures[e].ok())
      failures[e] = dnnlStatus(dnnl_primitive_execute(reorder.get(), place.stream, 2, arguments), "a reorder");
  });
  for (uint32_t e = 0; e < experts; ++e)
    if (!failures[e].ok())
      return failures[e].withContext("expert {}", e);
  return {};
}

uint64_t OneDnnWeights::bytes() const {
  uint64_t bytes = 0;
  for (const auto &layout : layouts)
    bytes += layout->memory.bytes();
  return bytes;
}

void OneDnnProduct::noteName(const_dnnl_primitive_desc_t desc) {
  const char *name = nullptr;
  if (dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name) == dnnl_success && name &&
      std::find(names.begin(), names.end(), name) == names.end())
    names.push_back(name);
}

Status OneDnnProduct::prepare(uint32_t rows) {
  if (rows < ofRows.size() && ofRows[rows])
    return {};
  Result<dnnl_memory_desc_t> from = describe(rows, weights.k, weights.type, dnnl_ab),
                             any = describe(weights.k, weights.n, weights.type, dnnl_format_tag_any),
                             to = describe(rows, weights.n, weights.type, dnnl_ab);
  for (const auto *desc : {&from, &any, &to})
    if (!*desc)
      return desc->status();
  dnnl_matmul_desc_t matmul;
  if (Status status = dnnlStatus(dnnl_matmul_desc_init(&matmul, &*from, &*any, nullptr, &*to), "matmul"); !status.ok())
    return status;
  // Scratch memory of ours: several threads may run one primitive, and nothing is allocated per call.
  dnnl_primitive_attr_t attributes = nullptr;
  if (Status status = dnnlStatus(dnnl_primitive_attr_create(&attributes), "attributes"); !status.ok())
    return status;
  std::unique_ptr<dnnl_primitive_attr, DnnlDestroy<dnnl_primitive_attr_destroy>> holder(attributes);
  (void)dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
  omp_set_num_threads(threads); // a primitive is made for as many threads as there are now
  dnnl_primitive_desc_t made = nullptr;
  if (Status status = dnnlStatus(dnnl_primitive_desc_create(&made, &matmul, attributes, weights.place.engine, nullptr),
                                 "choosing a matmul");
      !status.ok())
    return status;
  DnnlPrimitiveDesc desc(made);
  noteName(made);
  auto prepared = std::make_unique<Prepared>();
  dnnl_primitive_t primitive = nullptr;
  if (Status status = dnnlStatus(dnnl_primitive_create(&primitive, made), "making a matmul"); !status.ok())
    return status;
  prepared->primitive.reset(primitive);
  Result<size_t> layout = weights.find(*dnnl_primitive_desc_query_md(made, dnnl_query_weights_md, 0));
  if (!layout)
    return layout.status();
  prepared->layout = *layout;
  dnnl_engine_t engine = weights.place.engine;
  const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(made, dnnl_query_scratchpad_md, 0);
  for (unsigned caller = 0; caller < callers; ++caller) {
    Result<Region> region = Region::map(std::max<uint64_t>(1, dnnl_memory_desc_get_size(scratch)), "oneDNN's scratch");
    if (!region)
      return region.status();
    prepared->scratch.push_back(std::move(*region));
    Result<DnnlMemory> in = makeMemory(engine, *from, DNNL_MEMORY_NONE),
                       out = makeMemory(engine, *to, DNNL_MEMORY_NONE),
                       work = makeMemory(engine, *scratch, prepared->scratch.back().data());
    for (const auto *object : {&in, &out, &work})
      if (!*object)
        return object->status();
    prepared->callers.push_back({std::move(*in), std::move(*out), std::move(*work)});
  }
  if (ofRows.size() <= rows)
    ofRows.resize(rows + 1);
  ofRows[rows] = std::move(prepared);
  return {};
}

dnnl_status_t OneDnnProduct::run(uint32_t rows, uint32_t expert, const std::byte *from, std::byte *to,
                                 unsigned caller) {
  Prepared &prepared = *ofRows[rows];
  Caller &mine = prepared.callers[caller];
  (void)dnnl_memory_set_data_handle(mine.from.get(), const_cast<std::byte *>(from));
  (void)dnnl_memory_set_data_handle(mine.to.get(), to);
  const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, mine.from.get()},
                                       {DNNL_ARG_WEIGHTS, weights.of(prepared.layout, expert)},
                                       {DNNL_ARG_DST, mine.to.get()},
                                       {DNNL_ARG_SCRATCHPAD, mine.scratch.get()}};
  return dnnl_primitive_execute(prepared.primitive.get(), weights.place.stream, 4, arguments);
}

} // namespace moec::bench
