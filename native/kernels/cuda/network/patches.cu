// Images to rows of patches, normalised on the way: columns in the order channel, y, x, as a
// convolution's weight is stored.
#include "pack.h"
#include "rows.h"

namespace stockpot::cuda {
namespace {

template <class T, class Pixel>
__global__ void __launch_bounds__(kLanes* kRowLanes)
    patches_kernel(const __grid_constant__ Images images, uint32_t patch, uint32_t across,
                   uint32_t each, uint64_t rows, uint32_t columns, T* out, bool aligned) {
  constexpr int kCount = kWidth<T>;
  const Tile tile = tile_of_thread<kCount>(1);
  const int count = count_at<kCount>(tile.column, columns);
  if (count == 0 || tile.row >= rows) return;
  const uint64_t example = tile.row / each;
  const uint32_t at = static_cast<uint32_t>(tile.row % each);
  const uint32_t column = static_cast<uint32_t>(tile.column);
  uint32_t x = column % patch, y = column / patch % patch, channel = column / patch / patch;
  const uint64_t plane = uint64_t{images.height} * images.width;
  const Pixel* from = static_cast<const Pixel*>(images.data) + example * images.channels * plane +
                      uint64_t{at / across} * patch * images.width + at % across * patch;
  float v[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    v[i] = 0;
    if (i >= count) continue;
    const Pixel pixel = from[channel * plane + uint64_t{y} * images.width + x];
    if constexpr (sizeof(Pixel) == 1) {
      v[i] = (static_cast<float>(pixel) * images.factor - images.mean[channel]) /
             images.deviation[channel];
    } else {
      v[i] = pixel;
    }
    if (++x == patch) {
      x = 0;
      if (++y == patch) {
        y = 0;
        ++channel;
      }
    }
  }
  store<kCount>(out + tile.row * columns + tile.column, aligned, count, v);
}

}  // namespace

cudaError_t patches(Number number, const Images& images, uint32_t patch, uint64_t examples,
                    void* out, cudaStream_t stream) {
  const uint32_t across = images.width / patch, each = images.height / patch * across;
  const uint32_t columns = images.channels * patch * patch;
  const uint64_t rows = examples * each;
  if (rows == 0) return cudaSuccess;
  if (images.bytes && images.channels > 4) return cudaErrorInvalidValue;
  return with_type(number, [&](auto zero) {
    using T = decltype(zero);
    const auto go = [&](auto kernel) {
      return start(kernel, tiles(rows, columns, kWidth<T>, 1, stream), images, patch, across, each,
                   rows, columns, static_cast<T*>(out), is_aligned(columns, kWidth<T>, out));
    };
    return images.bytes ? go(patches_kernel<T, uint8_t>) : go(patches_kernel<T, float>);
  });
}

}  // namespace stockpot::cuda
