// What fuzz targets expect of code under test, beyond not crashing.
#pragma once

#include "compiler/core/Status.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace moec::fuzz {

/// Ends the process, so that libFuzzer keeps the input.
inline void expect(bool holds, const char *what) {
  if (holds)
    return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

/// An error about an input named `file`: InvalidModel, names it, and is fit for a log whatever the input holds.
inline void expectGoodError(const Status &status, const std::string &file) {
  const std::string &text = status.message();
  expect(status.code() == Code::InvalidModel, "a malformed input is InvalidModel");
  expect(text.find(file) != std::string::npos, "an error names the file");
  expect(text.size() < 2000, "an error is short");
  expect(std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; }), "an error is printable");
}

} // namespace moec::fuzz
