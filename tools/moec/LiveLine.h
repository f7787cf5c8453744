// One line on a terminal, on stderr, that is written over as work goes on; nothing elsewhere.
#pragma once

#include <chrono>
#include <string>

namespace moec::tool {

class LiveLine {
public:
  /// `forced`: lines of their own where stderr is no terminal.
  explicit LiveLine(bool forced = false);
  ~LiveLine() { end(); }
  LiveLine(const LiveLine &) = delete;
  LiveLine &operator=(const LiveLine &) = delete;

  /// Whether a line that is shown now would be seen: they come ten times a second at most.
  bool isDue() const;
  /// Writes over the last one, if it is due.
  void show(const std::string &line);
  /// Leaves the last one as it is.
  void end();

private:
  using Clock = std::chrono::steady_clock;
  bool terminal, on, dirty = false;
  Clock::time_point last{};
};

} // namespace moec::tool
