// Layers measured on an H200 (docs/performance-log.md): the best tile class of each family, and microseconds of dispatch,
// gate-up, down and combine, launches not overlapped.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstdint>

namespace moec::test {

struct MeasuredLayer {
  LayerShape shape;
  uint32_t tokens;
  double skew; // zipf's exponent; 0: uniform
  double portableUs;
  const char *portableTile;
  double hopperUs;
  const char *hopperTile;
};

inline constexpr LayerShape olmoe{.hidden = 2048, .intermediate = 1024, .experts = 64, .topK = 8};
inline constexpr LayerShape qwen3{.hidden = 2048, .intermediate = 768, .experts = 128, .topK = 8};
inline constexpr LayerShape mixtral{.hidden = 4096, .intermediate = 14336, .experts = 8, .topK = 2};
inline constexpr LayerShape dsv3Slice{.hidden = 7168, .intermediate = 2048, .experts = 32, .topK = 1};

inline constexpr MeasuredLayer measuredLayers[] = {
    {olmoe, 1, 0, 37.8, "portable-16x128-s5-w1x4-b2", 36.7, "swapped-8x128-s12-w1x1-b1"},
    {olmoe, 16, 0, 178.4, "portable-16x128-s5-w1x4-b2", 180.7, "swapped-16x128-s6-w1x1-b2"},
    {olmoe, 64, 0, 201.4, "portable-16x128-s5-w1x4-b2", 204.5, "swapped-16x128-s6-w1x1-b2"},
    {olmoe, 256, 0, 228.0, "portable-64x128-s3-w2x2-b2", 216.6, "hopper-128x256-s4-w2x1-b1"},
    {olmoe, 1024, 0, 440.3, "portable-64x128-s3-w2x2-b2", 295.1, "swapped-64x256-s5-w2x1-b1"},
    {olmoe, 4096, 0, 1434.5, "portable-128x128-s3-w2x4-b2", 734.5, "hopper-128x256-s4-w2x1-b1"},
    {olmoe, 16384, 0, 4967.4, "portable-128x128-s3-w2x4-b2", 2733.2, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 1, 0, 33.7, "portable-16x128-s5-w1x4-b2", 34.6, "swapped-16x128-s6-w1x1-b2"},
    {qwen3, 16, 0, 195.9, "portable-16x128-s5-w1x4-b2", 199.3, "swapped-16x128-s6-w1x1-b2"},
    {qwen3, 64, 0, 289.7, "portable-16x128-s5-w1x4-b2", 298.0, "swapped-16x128-s6-w1x1-b2"},
    {qwen3, 256, 0, 307.6, "portable-32x128-s4-w1x4-b2", 310.1, "swapped-16x128-s6-w1x1-b2"},
    {qwen3, 1024, 0, 436.8, "portable-32x128-s4-w1x4-b2", 340.9, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 4096, 0, 1140.0, "portable-64x128-s3-w2x2-b2", 679.6, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 16384, 0, 3704.6, "portable-128x128-s3-w2x4-b2", 2152.6, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 1, 0, 192.0, "portable-16x128-s5-w1x4-b2", 197.5, "swapped-8x128-s12-w1x1-b1"},
    {mixtral, 16, 0, 635.2, "portable-16x128-s5-w1x4-b2", 647.0, "swapped-16x128-s6-w1x1-b2"},
    {mixtral, 64, 0, 658.6, "portable-32x128-s4-w1x4-b2", 664.7, "swapped-32x128-s10-w1x1-b1"},
    {mixtral, 256, 0, 1118.9, "portable-64x128-s3-w2x2-b2", 700.0, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 1024, 0, 2577.8, "portable-64x128-s3-w2x2-b2", 1604.3, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 4096, 0, 8659.3, "portable-128x128-s3-w2x4-b2", 4634.4, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 16384, 0, 33796.8, "portable-128x128-s3-w2x4-b2", 18802.7, "hopper-128x256-s4-w2x1-b1"},
    {dsv3Slice, 1, 0, 49.7, "portable-16x128-s5-w1x4-b2", 46.4, "swapped-8x128-s12-w1x1-b1"},
    {dsv3Slice, 16, 0, 271.6, "portable-16x128-s5-w1x4-b2", 277.0, "swapped-16x128-s6-w1x1-b2"},
    {dsv3Slice, 64, 0, 559.6, "portable-16x128-s5-w1x4-b2", 570.0, "swapped-16x128-s6-w1x1-b2"},
    {dsv3Slice, 256, 0, 642.9, "portable-16x128-s5-w1x4-b2", 655.4, "swapped-16x128-s6-w1x1-b2"},
    {dsv3Slice, 1024, 0, 712.9, "portable-32x128-s4-w1x4-b2", 685.4, "hopper-128x128-s6-w2x1-b1"},
    {dsv3Slice, 4096, 0, 1480.4, "portable-64x128-s3-w2x2-b2", 1029.9, "swapped-64x256-s5-w2x1-b1"},
    {dsv3Slice, 16384, 0, 4922.7, "portable-128x128-s3-w2x4-b2", 2843.3, "hopper-128x256-s4-w2x1-b1"},
    {olmoe, 256, 1.2, 235.6, "portable-32x128-s4-w1x4-b2", 223.1, "swapped-64x256-s5-w2x1-b1"},
    {olmoe, 4096, 1.2, 1266.6, "portable-128x128-s3-w2x4-b2", 746.2, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 256, 1.2, 313.3, "portable-32x128-s4-w1x4-b2", 317.2, "swapped-64x256-s5-w2x1-b1"},
    {qwen3, 4096, 1.2, 1106.8, "portable-64x128-s3-w2x2-b2", 647.0, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 256, 1.2, 955.4, "portable-64x128-s3-w2x2-b2", 770.5, "swapped-64x256-s5-w2x1-b1"},
    {mixtral, 4096, 1.2, 8291.3, "portable-128x128-s3-w2x4-b2", 4649.6, "hopper-128x256-s4-w2x1-b1"},
    {dsv3Slice, 256, 1.2, 592.9, "portable-32x128-s4-w1x4-b2", 606.3, "swapped-32x128-s10-w1x1-b1"},
    {dsv3Slice, 4096, 1.2, 1517.5, "portable-64x128-s3-w2x2-b2", 996.0, "hopper-128x256-s4-w2x1-b1"},
};

/// On an H100, launches overlapped: fitted tiles, and the best tile of the Hopper family
/// (docs/results/2026-11-26-h100/layers-fitted.txt, layers-hopper.txt; uniform routing).
struct MeasuredTile {
  LayerShape shape;
  uint32_t tokens;
  double us;
  const char *tile;
};

inline constexpr MeasuredTile measuredH100[] = {
    {olmoe, 1, 42.5, "fitted-16x64-s5-w1x2-b2"},
    {olmoe, 1, 43.1, "fitted-16x64-s5-w1x4-b1"},
    {olmoe, 1, 43.7, "swapped-8x128-s12-w1x1-b1"},
    {olmoe, 16, 242.8, "fitted-16x64-s5-w1x2-b2"},
    {olmoe, 16, 241.8, "fitted-16x64-s5-w1x4-b1"},
    {olmoe, 16, 244.1, "swapped-16x128-s6-w1x1-b2"},
    {olmoe, 64, 276.9, "fitted-16x64-s5-w1x2-b2"},
    {olmoe, 64, 275.9, "fitted-16x64-s5-w1x4-b1"},
    {olmoe, 64, 278.6, "swapped-16x128-s6-w1x1-b2"},
    {olmoe, 256, 289.3, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 256, 291.3, "hopper-128x256-s4-w2x1-b1"},
    {olmoe, 1024, 328.7, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 1024, 360.4, "hopper-128x256-s4-w2x1-b1"},
    {olmoe, 4096, 699.4, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 4096, 754.1, "hopper-128x256-s4-w2x1-b1"},
    {olmoe, 16384, 2571.6, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 16384, 2871.6, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 1, 36.6, "fitted-16x64-s5-w1x2-b2"},
    {qwen3, 1, 37.3, "fitted-16x64-s5-w1x4-b1"},
    {qwen3, 1, 37.2, "swapped-8x128-s12-w1x1-b1"},
    {qwen3, 16, 266.0, "fitted-16x64-s5-w1x2-b2"},
    {qwen3, 16, 263.9, "fitted-16x64-s5-w1x4-b1"},
    {qwen3, 16, 268.3, "swapped-8x128-s12-w1x1-b1"},
    {qwen3, 64, 402.5, "fitted-16x64-s5-w1x2-b2"},
    {qwen3, 64, 398.8, "fitted-16x64-s5-w1x4-b1"},
    {qwen3, 64, 405.4, "swapped-16x128-s6-w1x1-b2"},
    {qwen3, 256, 431.8, "fitted-16x64-s5-w1x2-b2"},
    {qwen3, 256, 440.4, "fitted-16x64-s5-w1x4-b1"},
    {qwen3, 256, 422.7, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 256, 425.0, "swapped-64x256-s5-w2x1-b1"},
    {qwen3, 1024, 457.1, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 1024, 465.5, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 4096, 653.5, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 4096, 774.0, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 16384, 2075.9, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 16384, 2533.8, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 1, 243.7, "fitted-16x64-s5-w1x2-b2"},
    {mixtral, 1, 237.6, "fitted-16x64-s5-w1x4-b1"},
    {mixtral, 1, 247.1, "swapped-16x128-s6-w1x1-b2"},
    {mixtral, 16, 913.6, "fitted-16x64-s5-w1x2-b2"},
    {mixtral, 16, 908.3, "fitted-16x64-s5-w1x4-b1"},
    {mixtral, 16, 906.6, "swapped-16x128-s6-w1x1-b2"},
    {mixtral, 64, 1016.6, "fitted-16x64-s5-w1x2-b2"},
    {mixtral, 64, 1001.6, "fitted-16x64-s5-w1x4-b1"},
    {mixtral, 64, 928.3, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 64, 932.5, "swapped-64x256-s5-w2x1-b1"},
    {mixtral, 256, 953.9, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 256, 957.3, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 1024, 1204.6, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 1024, 1848.7, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 4096, 4917.2, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 4096, 4617.8, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 16384, 17791.6, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 16384, 19394.7, "hopper-128x256-s4-w2x1-b1"},
    {dsv3Slice, 1, 42.6, "fitted-16x64-s5-w1x2-b2"},
    {dsv3Slice, 1, 42.2, "fitted-16x64-s5-w1x4-b1"},
    {dsv3Slice, 1, 48.0, "swapped-8x128-s12-w1x1-b1"},
    {dsv3Slice, 16, 386.2, "fitted-16x64-s5-w1x2-b2"},
    {dsv3Slice, 16, 383.0, "fitted-16x64-s5-w1x4-b1"},
    {dsv3Slice, 16, 385.9, "swapped-16x128-s6-w1x1-b2"},
    {dsv3Slice, 64, 801.0, "fitted-16x64-s5-w1x2-b2"},
    {dsv3Slice, 64, 795.5, "fitted-16x64-s5-w1x4-b1"},
    {dsv3Slice, 64, 804.6, "swapped-8x128-s12-w1x1-b1"},
    {dsv3Slice, 256, 932.0, "fitted-16x64-s5-w1x2-b2"},
    {dsv3Slice, 256, 928.0, "fitted-16x64-s5-w1x4-b1"},
    {dsv3Slice, 256, 933.9, "swapped-16x128-s6-w1x1-b2"},
    {dsv3Slice, 1024, 955.6, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 1024, 967.0, "hopper-128x256-s4-w2x1-b1"},
    {dsv3Slice, 4096, 1059.7, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 4096, 1129.7, "swapped-64x128-s8-w1x1-b1"},
    {dsv3Slice, 16384, 2307.2, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 16384, 2797.0, "hopper-128x256-s4-w2x1-b1"},
};

} // namespace moec::test
