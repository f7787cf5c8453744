#include "runtime/device/cpu/Image.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace moec {
namespace {

class FileDescriptor {
public:
  explicit FileDescriptor(int fd) : fd(fd) {}
  FileDescriptor(FileDescriptor &&other) noexcept : fd(std::exchange(other.fd, -1)) {}
  ~FileDescriptor() {
    if (fd >= 0)
      close(fd);
  }
  int get() const { return fd; }

private:
  int fd;
};

class SharedObject final : public KernelImage {
public:
  SharedObject(void *handle, FileDescriptor file) : handle(handle), file(std::move(file)) {}
  ~SharedObject() override { dlclose(handle); }
  SharedObject(const SharedObject &) = delete;
  SharedObject &operator=(const SharedObject &) = delete;

  void *symbol(const std::string &name) const override { return dlsym(handle, name.c_str()); }

private:
  void *handle;
  // Kept open: the loader takes two objects of the same path for one, and the path is the descriptor's number.
  FileDescriptor file;
};

Status writeAll(int fd, const std::vector<uint8_t> &bytes) {
  for (size_t done = 0; done < bytes.size();) {
    ssize_t written = write(fd, bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return makeError(Code::ResourceExhausted, "cannot hold an image of {} bytes in memory: {}", bytes.size(),
                       std::strerror(errno));
    done += static_cast<size_t>(written);
  }
  return {};
}

} // namespace

Result<std::shared_ptr<const KernelImage>> loadSharedObject(const Image &image) {
  FileDescriptor file(memfd_create("moec-kernels", MFD_CLOEXEC));
  if (file.get() < 0)
    return makeError(Code::Failure, "memfd_create: {}", std::strerror(errno));
  if (Status status = writeAll(file.get(), image.bytes); !status.ok())
    return status;
  std::string path = fmt::format("/proc/self/fd/{}", file.get());
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *why = dlerror();
    return makeError(Code::Failure, "loading a kernel image of {} bytes: {}", image.bytes.size(),
                     why ? why : "unknown");
  }
  return std::shared_ptr<const KernelImage>(std::make_shared<SharedObject>(handle, std::move(file)));
}

} // namespace moec
