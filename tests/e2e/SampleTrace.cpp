// Writes a decision trace in which each kind of thing happened, for trace.py: a change that was
// rolled back, one that failed, one that was kept, refusals, and plans that stayed. Made by the
// loop itself under a virtual clock, so it is the same every time, takes no machine's time, and is
// as this build's policy decides.
#include "tests/unit/recompile/Simulation.h"

#include <fstream>

using namespace moec;
using namespace moec::test;

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  Simulation::Options options;
  options.layers = {3, 5};
  options.loop.policy.backOffNs = 20'000'000'000; // some hundred steps
  Simulation simulation(options);
  simulation.host->truth = 3; // new generations are slower than predicted
  simulation.run(1000, domain(32));
  simulation.host->truth = 1;
  simulation.run(1000, domain(32));
  simulation.host->onBuild = [](auto &) { return makeError(Code::ResourceExhausted, "out of <memory>"); };
  simulation.run(600, domain(0));
  simulation.host->onBuild = nullptr;
  simulation.run(1000, domain(0));
  simulation.loop->stop();
  std::ofstream file(argv[1]);
  file << simulation.traceText();
  return file.flush() ? 0 : 1;
}
