// Lines to a file, written by a thread of its own: whoever traces never waits for a disk.
#pragma once

#include "compiler/core/Status.h"
#include "compiler/core/ThreadSafety.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace moec {

/// Where trace lines go.
class LineSink {
public:
  virtual ~LineSink() = default;
  /// Takes a line without its newline. False: it was dropped. Never waits.
  virtual bool write(std::string line) = 0;
};

struct LineWriterOptions {
  std::string path;
  uint64_t maxBytes = 64u << 20; // a file is rotated before it grows beyond this
  uint32_t keep = 4;             // rotated files kept: PATH.1 is the newest of them
  size_t queueBytes = 8u << 20;  // lines waiting to be written; what does not fit is dropped and counted
  /// The first line of each file; the argument is the number of files begun before it.
  std::function<std::string(uint32_t segment)> header;
};

/// One `write` per line, so that a killed process leaves whole lines but at most one. Thread-safe.
class LineWriter : public LineSink {
public:
  /// Creates or truncates the file (mode 0600) and starts the thread. Errors: Failure (cannot be
  /// opened).
  static Result<std::unique_ptr<LineWriter>> open(LineWriterOptions options);
  /// Writes what is queued, then closes the file.
  ~LineWriter() override;

  bool write(std::string line) override;
  /// Waits until everything queued so far is written. For tests and for the end of a run.
  void flush();

  /// As `flush`. Error: Failure, lines were dropped or refused: the file is not whole.
  Status checkWhole();

  uint64_t dropped() const { return droppedLines.load(std::memory_order_relaxed); }
  /// Lines that the file system refused (disk full); tracing goes on, so that it resumes when there
  /// is room.
  uint64_t failed() const { return failedLines.load(std::memory_order_relaxed); }

private:
  explicit LineWriter(LineWriterOptions options) : options(std::move(options)) {}
  Status openFile();
  void rotate();
  void put(const std::string &line);
  void run();

  LineWriterOptions options;
  Mutex mutex;
  std::condition_variable_any changed;
  std::deque<std::string> queue MOEC_GUARDED_BY(mutex);
  size_t queuedBytes MOEC_GUARDED_BY(mutex) = 0;
  bool stopping MOEC_GUARDED_BY(mutex) = false;
  bool writing MOEC_GUARDED_BY(mutex) = false;

  // Of the thread only, once it runs.
  int file = -1;
  uint64_t fileBytes = 0;
  uint32_t segment = 0;

  std::atomic<uint64_t> droppedLines{0}, failedLines{0};
  std::thread thread;
};

} // namespace moec
