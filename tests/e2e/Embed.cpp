// The README's embedding example, as a program against libmoec.so: one layer of a checkpoint, then the loop on a thread.
//
//   embed tests/golden/olmoe
#include "runtime/Session.h"
#include "runtime/recompile/Recompiler.h"

#include <cstdio>
#include <vector>

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  auto model = moec::Model::load(argv[1]);
  if (!model)
    return std::fprintf(stderr, "%s\n", model.status().message().c_str()), 1;
  auto session = moec::Session::open(*model, {.maxTokens = 256});
  if (!session)
    return std::fprintf(stderr, "%s\n", session.status().message().c_str()), 1;

  moec::RecompilerOptions watch;
  watch.layers = session->layers();
  watch.profile.defaultTokens = 256;
  moec::Recompiler loop(session->host(), watch);
  session->setObserver(loop.monitor().observer());
  if (!loop.start().ok())
    return 1;

  const moec::LayerShape shape = session->host().layerShape(session->layers()[0]);
  const uint32_t tokens = 16;
  std::vector<float> hidden(tokens * shape.hidden, 0.5f), output(hidden.size());
  for (int i = 0; i < 100; ++i) {
    auto step = session->begin({.tokens = tokens, .phase = moec::Phase::Decode}); // pins one generation
    if (!step)
      return 1;
    moec::Status status = step->layer(session->layers()[0])
                              .forward({hidden.data(), shape.dtype, tokens, shape.hidden},
                                       {output.data(), shape.dtype, tokens, shape.hidden});
    if (!status.ok())
      return std::fprintf(stderr, "%s\n", status.message().c_str()), 1;
  }
  session->setObserver(nullptr);
  loop.stop();
  std::printf("%llu forwards on generation %llu, output[0] = %.6f\n",
              static_cast<unsigned long long>(session->stats().forwards),
              static_cast<unsigned long long>(session->liveGeneration()), output[0]);
}
