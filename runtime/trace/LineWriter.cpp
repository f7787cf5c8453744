#include "runtime/trace/LineWriter.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace moec {

Result<std::unique_ptr<LineWriter>> LineWriter::open(LineWriterOptions options) {
  std::unique_ptr<LineWriter> writer(new LineWriter(std::move(options)));
  if (Status status = writer->openFile(); !status.ok())
    return status;
  writer->thread = std::thread([raw = writer.get()] { raw->run(); });
  return writer;
}

Status LineWriter::openFile() {
  // Not followed where it is a link: a trace in a shared folder must not overwrite another file.
  file = ::open(options.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  fileBytes = 0;
  if (file < 0)
    return makeError(Code::Failure, "cannot write the trace {}: {}", options.path, std::strerror(errno));
  if (options.header)
    put(options.header(segment));
  return {};
}

LineWriter::~LineWriter() {
  {
    Lock lock(mutex);
    stopping = true;
  }
  changed.notify_all();
  if (thread.joinable())
    thread.join();
  if (file >= 0)
    ::close(file);
}

bool LineWriter::write(std::string line) {
  {
    Lock lock(mutex);
    if (queuedBytes + line.size() > options.queueBytes) {
      droppedLines.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    queuedBytes += line.size();
    queue.push_back(std::move(line));
  }
  changed.notify_all();
  return true;
}

void LineWriter::flush() {
  mutex.lock();
  while (!queue.empty() || writing)
    changed.wait(mutex);
  mutex.unlock();
}

Status LineWriter::checkWhole() {
  flush();
  const uint64_t lost = failed() + dropped();
  return lost == 0 ? Status() : makeError(Code::Failure, "trace {}: {} lines could not be written", options.path, lost);
}

void LineWriter::run() {
  mutex.lock();
  for (;;) {
    while (queue.empty() && !stopping)
      changed.wait(mutex);
    if (queue.empty())
      break;
    std::string line = std::move(queue.front());
    queue.pop_front();
    queuedBytes -= line.size();
    writing = true;
    mutex.unlock();
    if (fileBytes > 0 && fileBytes + line.size() + 1 > options.maxBytes)
      rotate();
    put(line);
    mutex.lock();
    writing = false;
    if (queue.empty())
      changed.notify_all();
  }
  mutex.unlock();
}

void LineWriter::rotate() {
  if (file >= 0)
    ::close(file);
  std::string oldest = fmt::format("{}.{}", options.path, options.keep);
  std::remove(oldest.c_str());
  for (uint32_t i = options.keep; i > 1; --i)
    std::rename(fmt::format("{}.{}", options.path, i - 1).c_str(), fmt::format("{}.{}", options.path, i).c_str());
  if (options.keep)
    std::rename(options.path.c_str(), fmt::format("{}.1", options.path).c_str());
  ++segment;
  if (Status status = openFile(); !status.ok())
    file = -1; // counted line by line in put()
}

void LineWriter::put(const std::string &line) {
  std::string whole = line + '\n';
  size_t written = 0;
  while (file >= 0 && written < whole.size()) {
    ssize_t n = ::write(file, whole.data() + written, whole.size() - written);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      break;
    written += static_cast<size_t>(n);
  }
  fileBytes += written;
  if (written < whole.size())
    failedLines.fetch_add(1, std::memory_order_relaxed);
}

} // namespace moec
