// The README's embedding example as a program against libmoec.so: one layer of a checkpoint, the loop on a thread of
// its own. readme.py compares the two.
//
//   embed tests/golden/olmoe
#include "runtime/Session.h"
#include "runtime/recompile/Recompiler.h"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

namespace {

/// Ends the program where something failed.
void need(const moec::Status &status) {
  if (!status.ok())
    std::exit((std::fprintf(stderr, "embed: %s\n", status.message().c_str()), 1));
}
template <typename T> T need(moec::Result<T> result) {
  need(result.status());
  return std::move(*result);
}

void serve(const char *folder) {
  auto model = need(moec::Model::load(folder));                        // HF folder, config.json, .mlir or package
  auto session = need(moec::Session::open(model, {.maxTokens = 256})); // plans, compiles (or finds), packs generation 0

  moec::RecompilerOptions watch;
  watch.layers = session.layers();
  moec::Recompiler loop(session.host(), watch);
  session.setObserver(loop.monitor().observer());
  need(loop.start()); // the loop, on a thread of its own

  const uint32_t layer = watch.layers[0], tokens = 16, width = session.host().layerShape(layer).hidden;
  std::vector<float> hidden(tokens * width, 0.5f), output(hidden.size()); // in the model's dtype, here f32
  for (int i = 0; i < 100; ++i) {
    auto step = need(session.begin({.tokens = tokens})); // pins one generation
    // Never compiles, waits for a compile or allocates.
    need(step.layer(layer).forward({hidden.data(), moec::DType::F32, tokens, width},
                                   {output.data(), moec::DType::F32, tokens, width}));
  }
  session.setObserver(nullptr); // before the loop goes
  std::printf("%d forwards on generation %d, output[0] = %.6f\n", int(session.stats().forwards),
              int(session.liveGeneration()), output[0]);
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  serve(argv[1]);
}
