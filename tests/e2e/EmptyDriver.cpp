// A CUDA driver without a GPU, as far as `moec doctor` asks.
extern "C" __attribute__((visibility("default"))) int cuDriverGetVersion(int *version) {
  *version = 13020;
  return 0;
}
