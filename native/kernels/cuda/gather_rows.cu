// A batch of examples from a table that stays on the device. Which rows they are goes with the
// launch, as an argument: nothing is copied to the device for it.
#include <algorithm>
#include <type_traits>

#include "gather_rows.h"
#include "start.h"

namespace stockpot::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kEach = 8;  // pieces of a thread, all of them under way at once
constexpr uint32_t kMostRows = 512;
constexpr uint32_t kMostChannels = 4;

struct Rows {
  const uint8_t* table;
  uint64_t stride;
  uint32_t indices[kMostRows];
  __device__ const uint8_t* operator[](unsigned i) const { return table + indices[i] * stride; }
};

// blockIdx: kThreads · kEach pieces of a row, and which row.
template <class Piece>
__global__ void __launch_bounds__(kThreads)
    copy_rows(const __grid_constant__ Rows rows, uint64_t pieces, Piece* out) {
  const Piece* from = reinterpret_cast<const Piece*>(rows[blockIdx.y]);
  Piece* to = out + blockIdx.y * pieces;
  const uint64_t first = uint64_t{blockIdx.x} * kThreads * kEach + threadIdx.x;
  Piece v[kEach];
#pragma unroll
  for (unsigned i = 0; i < kEach; ++i) {
    const uint64_t at = first + i * kThreads;
    if (at < pieces) v[i] = from[at];
  }
#pragma unroll
  for (unsigned i = 0; i < kEach; ++i) {
    const uint64_t at = first + i * kThreads;
    if (at < pieces) to[at] = v[i];
  }
}

// The same where bytes become float32. A piece is four bytes of one channel, so that a warp writes
// 512 bytes in a row, or one.
template <bool kFour>
__global__ void __launch_bounds__(kThreads)
    look_up_rows(const __grid_constant__ Rows rows, uint32_t bytes, uint32_t channels,
                 const float* values, float* out) {
  using Piece = std::conditional_t<kFour, uint32_t, uint8_t>;
  __shared__ float of_byte[kMostChannels * 256];
  const uint32_t pieces = bytes / sizeof(Piece), each = pieces / channels;
  const Piece* from = reinterpret_cast<const Piece*>(rows[blockIdx.y]);
  const uint64_t first = uint64_t{blockIdx.x} * kThreads * kEach + threadIdx.x;
  Piece v[kEach] = {};
#pragma unroll
  for (unsigned i = 0; i < kEach; ++i) {
    const uint64_t at = first + i * kThreads;
    if (at < pieces) v[i] = from[at];
  }
  for (unsigned i = threadIdx.x; i < channels * 256; i += kThreads) of_byte[i] = values[i];
  __syncthreads();
#pragma unroll
  for (unsigned i = 0; i < kEach; ++i) {
    const uint64_t at = first + i * kThreads;
    if (at >= pieces) continue;
    const float* of = of_byte + static_cast<uint32_t>(at) / each * 256;
    if constexpr (kFour) {
      reinterpret_cast<float4*>(out)[blockIdx.y * uint64_t{pieces} + at] =
          make_float4(of[v[i] & 0xFF], of[v[i] >> 8 & 0xFF], of[v[i] >> 16 & 0xFF], of[v[i] >> 24]);
    } else {
      out[blockIdx.y * uint64_t{pieces} + at] = of[v[i]];
    }
  }
}

Start blocks_for(uint64_t pieces, uint32_t rows, cudaStream_t stream) {
  const uint64_t across = (pieces + kThreads * kEach - 1) / (kThreads * kEach);
  return {dim3(static_cast<unsigned>(across), rows), dim3(kThreads), stream};
}

template <class Piece>
cudaError_t copy(const Rows& rows, uint64_t bytes, uint32_t count, uint64_t out,
                 cudaStream_t stream) {
  const uint64_t pieces = bytes / sizeof(Piece);
  return start(copy_rows<Piece>, blocks_for(pieces, count, stream), rows, pieces,
               reinterpret_cast<Piece*>(out));
}

template <bool kFour>
cudaError_t look_up(const Rows& rows, const stockpot_gather& g, uint32_t count, uint64_t out,
                    cudaStream_t stream) {
  return start(look_up_rows<kFour>, blocks_for(g.bytes / (kFour ? 4 : 1), count, stream), rows,
               static_cast<uint32_t>(g.bytes), g.channels, reinterpret_cast<const float*>(g.values),
               reinterpret_cast<float*>(out));
}

}  // namespace

cudaError_t gather_rows(const stockpot_gather& g, cudaStream_t stream) {
  if (g.bytes == 0) return cudaSuccess;
  const uint64_t row = g.values ? g.bytes * sizeof(float) : g.bytes;
  cudaError_t e = cudaSuccess;
  for (uint32_t first = 0; first < g.count && e == cudaSuccess; first += kMostRows) {
    const uint32_t count = std::min(g.count - first, kMostRows);
    Rows rows{reinterpret_cast<const uint8_t*>(g.table), g.stride, {}};
    std::copy_n(g.indices + first, count, rows.indices);
    const uint64_t out = g.out + first * row;
    const uint64_t places = g.table | g.stride | out;
    if (g.values) {
      const bool four = (g.table | g.stride) % 4 == 0 && out % 16 == 0 &&
                        g.bytes % (uint64_t{4} * g.channels) == 0;
      e = four ? look_up<true>(rows, g, count, out, stream)
               : look_up<false>(rows, g, count, out, stream);
    } else if ((places | g.bytes) % 16 == 0) {
      e = copy<uint4>(rows, g.bytes, count, out, stream);
    } else if ((places | g.bytes) % 4 == 0) {
      e = copy<uint32_t>(rows, g.bytes, count, out, stream);
    } else {
      e = copy<uint8_t>(rows, g.bytes, count, out, stream);
    }
  }
  return e;
}

}  // namespace stockpot::cuda
