// Parallel loops on libgomp's threads, which oneDNN's own loops use too: one team, so no two teams fight for the cores.
//
// clang's OpenMP would bring a second run-time library, so the few entry points are called directly; GCC keeps them
// stable.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

extern "C" {
void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags);
int omp_get_thread_num();
void omp_set_num_threads(int threads);
}

namespace moec::bench {

/// Calls body(item, thread) once for each item, on as many threads as omp_set_num_threads said; returns when all are
/// done.
template <typename Body> void gompFor(uint32_t items, Body &&body) {
  struct Shared {
    std::remove_reference_t<Body> *body;
    uint32_t items;
    std::atomic<uint32_t> next{0};
  } shared{&body, items};
  GOMP_parallel(
      [](void *data) {
        auto &all = *static_cast<Shared *>(data);
        const auto thread = static_cast<unsigned>(omp_get_thread_num());
        for (uint32_t item = all.next.fetch_add(1, std::memory_order_relaxed); item < all.items;
             item = all.next.fetch_add(1, std::memory_order_relaxed))
          (*all.body)(item, thread);
      },
      &shared, 0, 0);
}

} // namespace moec::bench
