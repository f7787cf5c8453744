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

/// On an H100, launches overlapped, uniform routing (docs/results/2026-11-26-h100): up to 256 tokens every tile that may
/// suit (layers-every-tile.txt), beyond fitted tiles and the best of the Hopper family (layers-fitted.txt, layers-hopper.txt).
struct MeasuredTile {
  LayerShape shape;
  uint32_t tokens;
  double us;
  const char *tile;
};

inline constexpr MeasuredTile measuredH100[] = {
    {olmoe, 1, 42.7, "fitted-16x64-s5-w1x2-b2"},
    {olmoe, 1, 43.8, "fitted-16x64-s5-w1x4-b1"},
    {olmoe, 1, 43.9, "swapped-8x128-s12-w1x1-b1"},
    {olmoe, 1, 44.1, "swapped-16x128-s12-w1x1-b1"},
    {olmoe, 1, 44.8, "swapped-16x128-s6-w1x1-b2"},
    {olmoe, 1, 45.8, "portable-16x128-s5-w1x4-b2"},
    {olmoe, 1, 46.4, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 16, 241.5, "fitted-16x64-s5-w1x4-b1"},
    {olmoe, 16, 243.3, "fitted-16x64-s5-w1x2-b2"},
    {olmoe, 16, 244.5, "swapped-16x128-s6-w1x1-b2"},
    {olmoe, 16, 246.1, "swapped-8x128-s12-w1x1-b1"},
    {olmoe, 16, 246.6, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 16, 247.3, "swapped-16x128-s12-w1x1-b1"},
    {olmoe, 16, 253.0, "portable-16x128-s5-w1x4-b2"},
    {olmoe, 64, 275.8, "fitted-16x64-s5-w1x4-b1"},
    {olmoe, 64, 276.4, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 64, 278.1, "fitted-16x64-s5-w1x2-b2"},
    {olmoe, 64, 281.7, "swapped-16x128-s6-w1x1-b2"},
    {olmoe, 64, 284.1, "swapped-16x128-s12-w1x1-b1"},
    {olmoe, 64, 285.4, "swapped-32x128-s10-w1x1-b1"},
    {olmoe, 64, 289.1, "portable-16x128-s5-w1x4-b2"},
    {olmoe, 64, 294.0, "portable-32x128-s4-w1x4-b2"},
    {olmoe, 64, 295.8, "swapped-8x128-s12-w1x1-b1"},
    {olmoe, 256, 290.0, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 256, 293.6, "swapped-64x256-s5-w2x1-b1"},
    {olmoe, 256, 299.0, "swapped-64x128-s8-w1x1-b1"},
    {olmoe, 256, 311.7, "portable-64x128-s3-w2x2-b2"},
    {olmoe, 256, 314.4, "portable-32x128-s4-w1x4-b2"},
    {olmoe, 256, 319.2, "swapped-32x128-s10-w1x1-b1"},
    {olmoe, 256, 324.2, "portable-16x128-s5-w1x4-b2"},
    {olmoe, 256, 325.7, "portable-128x128-s3-w2x4-b2"},
    {olmoe, 256, 330.8, "fitted-16x64-s5-w1x2-b2"},
    {olmoe, 256, 338.2, "swapped-16x128-s6-w1x1-b2"},
    {olmoe, 256, 340.1, "swapped-16x128-s12-w1x1-b1"},
    {olmoe, 256, 380.3, "fitted-16x64-s5-w1x4-b1"},
    {olmoe, 256, 413.7, "swapped-8x128-s12-w1x1-b1"},
    {olmoe, 1024, 328.7, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 4096, 699.4, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 16384, 2571.6, "fitted-192x256-s4-w2x1-b1"},
    {olmoe, 1024, 360.4, "hopper-128x256-s4-w2x1-b1"},
    {olmoe, 4096, 754.1, "hopper-128x256-s4-w2x1-b1"},
    {olmoe, 16384, 2871.6, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 1, 36.2, "fitted-16x64-s5-w1x2-b2"},
    {qwen3, 1, 36.9, "swapped-16x128-s12-w1x1-b1"},
    {qwen3, 1, 37.0, "swapped-16x128-s6-w1x1-b2"},
    {qwen3, 1, 37.2, "swapped-8x128-s12-w1x1-b1"},
    {qwen3, 1, 37.2, "fitted-16x64-s5-w1x4-b1"},
    {qwen3, 1, 38.0, "portable-16x128-s5-w1x4-b2"},
    {qwen3, 1, 39.7, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 16, 263.5, "fitted-16x64-s5-w1x4-b1"},
    {qwen3, 16, 266.1, "fitted-16x64-s5-w1x2-b2"},
    {qwen3, 16, 268.7, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 16, 270.9, "swapped-16x128-s6-w1x1-b2"},
    {qwen3, 16, 271.5, "swapped-8x128-s12-w1x1-b1"},
    {qwen3, 16, 272.8, "swapped-16x128-s12-w1x1-b1"},
    {qwen3, 16, 278.8, "portable-16x128-s5-w1x4-b2"},
    {qwen3, 64, 398.5, "fitted-16x64-s5-w1x4-b1"},
    {qwen3, 64, 402.0, "fitted-16x64-s5-w1x2-b2"},
    {qwen3, 64, 402.6, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 64, 404.9, "swapped-16x128-s6-w1x1-b2"},
    {qwen3, 64, 406.8, "swapped-8x128-s12-w1x1-b1"},
    {qwen3, 64, 408.0, "swapped-16x128-s12-w1x1-b1"},
    {qwen3, 64, 416.8, "portable-16x128-s5-w1x4-b2"},
    {qwen3, 256, 420.7, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 256, 426.3, "fitted-16x64-s5-w1x2-b2"},
    {qwen3, 256, 427.2, "swapped-64x256-s5-w2x1-b1"},
    {qwen3, 256, 432.7, "swapped-32x128-s10-w1x1-b1"},
    {qwen3, 256, 434.2, "swapped-64x128-s8-w1x1-b1"},
    {qwen3, 256, 439.7, "fitted-16x64-s5-w1x4-b1"},
    {qwen3, 256, 447.1, "portable-32x128-s4-w1x4-b2"},
    {qwen3, 256, 452.4, "portable-16x128-s5-w1x4-b2"},
    {qwen3, 256, 452.5, "portable-64x128-s3-w2x2-b2"},
    {qwen3, 256, 455.3, "swapped-16x128-s6-w1x1-b2"},
    {qwen3, 256, 463.4, "swapped-16x128-s12-w1x1-b1"},
    {qwen3, 256, 500.1, "swapped-8x128-s12-w1x1-b1"},
    {qwen3, 1024, 457.1, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 4096, 653.5, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 16384, 2075.9, "fitted-192x256-s4-w2x1-b1"},
    {qwen3, 1024, 465.5, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 4096, 774.0, "hopper-128x256-s4-w2x1-b1"},
    {qwen3, 16384, 2533.8, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 1, 238.1, "fitted-16x64-s5-w1x4-b1"},
    {mixtral, 1, 244.1, "swapped-8x128-s12-w1x1-b1"},
    {mixtral, 1, 244.1, "swapped-16x128-s12-w1x1-b1"},
    {mixtral, 1, 244.4, "fitted-16x64-s5-w1x2-b2"},
    {mixtral, 1, 244.9, "swapped-16x128-s6-w1x1-b2"},
    {mixtral, 1, 256.9, "portable-16x128-s5-w1x4-b2"},
    {mixtral, 1, 292.1, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 16, 906.4, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 16, 907.1, "fitted-16x64-s5-w1x4-b1"},
    {mixtral, 16, 910.3, "swapped-8x128-s12-w1x1-b1"},
    {mixtral, 16, 911.1, "fitted-16x64-s5-w1x2-b2"},
    {mixtral, 16, 911.4, "swapped-16x128-s12-w1x1-b1"},
    {mixtral, 16, 913.6, "swapped-16x128-s6-w1x1-b2"},
    {mixtral, 16, 954.1, "portable-16x128-s5-w1x4-b2"},
    {mixtral, 64, 928.4, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 64, 940.3, "swapped-64x256-s5-w2x1-b1"},
    {mixtral, 64, 941.4, "swapped-32x128-s10-w1x1-b1"},
    {mixtral, 64, 941.5, "swapped-64x128-s8-w1x1-b1"},
    {mixtral, 64, 976.8, "fitted-16x64-s5-w1x4-b1"},
    {mixtral, 64, 993.8, "fitted-16x64-s5-w1x2-b2"},
    {mixtral, 64, 1001.8, "portable-32x128-s4-w1x4-b2"},
    {mixtral, 64, 1006.7, "portable-64x128-s3-w2x2-b2"},
    {mixtral, 64, 1035.5, "swapped-16x128-s6-w1x1-b2"},
    {mixtral, 64, 1055.6, "portable-16x128-s5-w1x4-b2"},
    {mixtral, 64, 1062.6, "swapped-16x128-s12-w1x1-b1"},
    {mixtral, 64, 1289.9, "swapped-8x128-s12-w1x1-b1"},
    {mixtral, 256, 953.8, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 256, 1070.7, "portable-128x128-s3-w2x4-b2"},
    {mixtral, 256, 1072.3, "swapped-64x256-s5-w2x1-b1"},
    {mixtral, 256, 1083.0, "swapped-64x128-s8-w1x1-b1"},
    {mixtral, 256, 1130.2, "portable-32x128-s4-w1x4-b2"},
    {mixtral, 256, 1169.9, "portable-64x128-s3-w2x2-b2"},
    {mixtral, 256, 1283.9, "swapped-32x128-s10-w1x1-b1"},
    {mixtral, 256, 1508.7, "portable-16x128-s5-w1x4-b2"},
    {mixtral, 256, 1548.9, "swapped-16x128-s6-w1x1-b2"},
    {mixtral, 256, 1695.1, "swapped-16x128-s12-w1x1-b1"},
    {mixtral, 256, 2797.6, "swapped-8x128-s12-w1x1-b1"},
    {mixtral, 1024, 1204.6, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 4096, 4917.2, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 16384, 17791.6, "fitted-192x256-s4-w2x1-b1"},
    {mixtral, 1024, 1848.7, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 4096, 4617.8, "hopper-128x256-s4-w2x1-b1"},
    {mixtral, 16384, 19394.7, "hopper-128x256-s4-w2x1-b1"},
    {dsv3Slice, 1, 41.8, "fitted-16x64-s5-w1x2-b2"},
    {dsv3Slice, 1, 43.7, "fitted-16x64-s5-w1x4-b1"},
    {dsv3Slice, 1, 48.0, "swapped-16x128-s6-w1x1-b2"},
    {dsv3Slice, 1, 48.5, "swapped-8x128-s12-w1x1-b1"},
    {dsv3Slice, 1, 48.7, "swapped-16x128-s12-w1x1-b1"},
    {dsv3Slice, 1, 52.5, "portable-16x128-s5-w1x4-b2"},
    {dsv3Slice, 1, 74.6, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 16, 383.2, "fitted-16x64-s5-w1x4-b1"},
    {dsv3Slice, 16, 387.2, "swapped-16x128-s6-w1x1-b2"},
    {dsv3Slice, 16, 388.5, "fitted-16x64-s5-w1x2-b2"},
    {dsv3Slice, 16, 390.8, "swapped-8x128-s12-w1x1-b1"},
    {dsv3Slice, 16, 391.5, "swapped-16x128-s12-w1x1-b1"},
    {dsv3Slice, 16, 399.6, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 16, 401.5, "portable-16x128-s5-w1x4-b2"},
    {dsv3Slice, 64, 796.5, "fitted-16x64-s5-w1x4-b1"},
    {dsv3Slice, 64, 803.1, "fitted-16x64-s5-w1x2-b2"},
    {dsv3Slice, 64, 809.5, "swapped-8x128-s12-w1x1-b1"},
    {dsv3Slice, 64, 809.5, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 64, 810.1, "swapped-16x128-s12-w1x1-b1"},
    {dsv3Slice, 64, 811.1, "swapped-16x128-s6-w1x1-b2"},
    {dsv3Slice, 64, 843.1, "portable-16x128-s5-w1x4-b2"},
    {dsv3Slice, 256, 927.7, "fitted-16x64-s5-w1x4-b1"},
    {dsv3Slice, 256, 928.5, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 256, 934.4, "fitted-16x64-s5-w1x2-b2"},
    {dsv3Slice, 256, 941.5, "swapped-16x128-s6-w1x1-b2"},
    {dsv3Slice, 256, 943.6, "swapped-32x128-s10-w1x1-b1"},
    {dsv3Slice, 256, 944.6, "swapped-16x128-s12-w1x1-b1"},
    {dsv3Slice, 256, 977.3, "portable-16x128-s5-w1x4-b2"},
    {dsv3Slice, 256, 995.4, "portable-32x128-s4-w1x4-b2"},
    {dsv3Slice, 256, 1021.6, "swapped-8x128-s12-w1x1-b1"},
    {dsv3Slice, 1024, 955.6, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 4096, 1059.7, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 16384, 2307.2, "fitted-192x256-s4-w2x1-b1"},
    {dsv3Slice, 1024, 967.0, "hopper-128x256-s4-w2x1-b1"},
    {dsv3Slice, 4096, 1129.7, "swapped-64x128-s8-w1x1-b1"},
    {dsv3Slice, 16384, 2797.0, "hopper-128x256-s4-w2x1-b1"},
};

/// The same layer with gate-up's rows gathered and laid out, in turns on one card (docs/results/2026-11-26-h100/rows-laid-out.txt and
/// -h200), fitted-192x256 both.
struct MeasuredRows {
  const char *target;
  LayerShape shape;
  uint32_t tokens;
  double gatheredUs, laidUs;
};

inline constexpr MeasuredRows measuredRows[] = {
    {"h200", mixtral, 1024, 1381.4, 1333.6},    {"h200", mixtral, 4096, 4692.8, 4442.4},   {"h200", mixtral, 16384, 17848.4, 17161.2},
    {"h200", dsv3Slice, 1024, 682.4, 702.0},    {"h200", dsv3Slice, 4096, 902.2, 911.4},   {"h200", dsv3Slice, 16384, 2614.9, 2545.5},
    {"h200", qwen3, 16384, 2267.4, 2255.1},     {"h200", olmoe, 1024, 265.4, 279.6},       {"h200", olmoe, 4096, 788.9, 759.2},
    {"h200", olmoe, 16384, 2856.5, 2804.1},     {"h100", mixtral, 1024, 1412.2, 1346.0},   {"h100", mixtral, 2048, 2524.9, 2371.4},
    {"h100", mixtral, 4096, 4585.8, 4404.7},    {"h100", mixtral, 16384, 17914.3, 17023.0}, {"h100", dsv3Slice, 4096, 1063.0, 1099.8},
    {"h100", dsv3Slice, 16384, 2719.2, 2634.1}, {"h100", qwen3, 4096, 691.1, 746.9},       {"h100", qwen3, 16384, 2375.5, 2379.9},
    {"h100", olmoe, 1024, 331.8, 354.7},        {"h100", olmoe, 4096, 803.9, 790.9},       {"h100", olmoe, 16384, 3046.3, 2908.8},
};

} // namespace moec::test
