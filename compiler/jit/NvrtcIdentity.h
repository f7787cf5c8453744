// Which version of NVRTC this machine has, without opening it: its library takes 10 to 25 ms to load, and a compile
// whose kernels are all in the cache needs nothing of it but the version, for their keys.
#pragma once

#include "compiler/jit/Nvrtc.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace moec {

/// What an Nvrtc::open(search) would find depends on: the places it tries, the loader's own, and of each libnvrtc there
/// its path, size, time of change and build id. A readable text; an answer remembered under it holds as long as it is
/// the same.
///
/// Nothing where one of the places is that of a libnvrtc that is loaded: opening it again costs nothing, and it is the
/// one that would be found.
std::optional<std::string> nvrtcSearchKey(const NvrtcSearch &search);

/// Path, size, time of change and build id of a file, by which it is known again; empty where there is none.
std::string fileIdentity(const std::string &path);

/// The value to be remembered under nvrtcSearchKey: the version, and which file has it.
std::vector<uint8_t> writeNvrtcAnswer(const Nvrtc &nvrtc);
/// The version in such a value; nothing where it is damaged, or the file is not the one any more.
std::optional<NvrtcVersion> readNvrtcAnswer(std::span<const uint8_t> bytes);

} // namespace moec
