// Numbers and lists as reasons show them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace moec {

/// "870 ns", "12.3 us", "4.56 ms", "1.20 s"; negative numbers keep their sign.
std::string textOfNs(double ns);
/// "12.3 %".
std::string textOfShare(double share);
/// "3, 7, 9", and at most `most` of them: "3, 7, 9 and 12 more".
std::string textOfList(std::span<const uint32_t> numbers, size_t most = 12);
/// "{14,8,4}".
std::string textOfHeights(std::span<const uint16_t> heights);

} // namespace moec
