#include "tools/moec/LiveLine.h"

#include <fmt/format.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace moec::tool {

LiveLine::LiveLine(bool forced) : terminal(isatty(2)), on(forced || terminal) {}

bool LiveLine::isDue() const {
  return on && std::chrono::duration<double>(Clock::now() - last).count() >= (terminal ? 0.1 : 1.0);
}

void LiveLine::show(const std::string &text) {
  if (!isDue())
    return;
  last = Clock::now();
  std::string line = text;
  // A line that is wider than the terminal would wrap, and \r would come back to its second row alone.
  winsize size{};
  if (terminal && ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    line.resize(std::min<size_t>(line.size(), size.ws_col - 1u));
  if (terminal)
    fmt::print(stderr, "\r{}\x1b[K", line);
  else
    fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
  dirty = terminal;
}

void LiveLine::end() {
  if (dirty)
    fmt::print(stderr, "\n");
  dirty = false;
}

} // namespace moec::tool
