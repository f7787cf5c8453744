// Files for the tests of weights: a folder that vanishes, and .safetensors files put together by hand, so that a
// test can break one rule.
#pragma once

#include "runtime/weights/SafetensorsWriter.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace moec::test {

class TempFolder {
public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "moec-weights-XXXXXX").string();
    folder = ::mkdtemp(pattern.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  TempFolder(const TempFolder &) = delete;
  TempFolder &operator=(const TempFolder &) = delete;

  std::string path() const { return folder; }
  std::string operator/(std::string_view name) const { return folder + "/" + std::string(name); }

  std::string write(std::string_view name, std::string_view content) const {
    std::string file = *this / name;
    std::ofstream(file, std::ios::binary) << content;
    return file;
  }

private:
  std::string folder;
};

/// A whole file: the header's length, the header, `dataBytes` bytes of data that count up from 0.
inline std::string safetensors(std::string_view json, size_t dataBytes) {
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i)
    file[i] = static_cast<char>(json.size() >> (8 * i));
  file += json;
  for (size_t i = 0; i < dataBytes; ++i)
    file += static_cast<char>(i);
  return file;
}

template <typename T> std::span<const std::byte> bytesOf(const std::vector<T> &values) {
  return std::as_bytes(std::span(values));
}

} // namespace moec::test
