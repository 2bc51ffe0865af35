#include "network_ops.h"

#include <cstring>

namespace stockpot {

#if defined(__x86_64__)
namespace avx512 {
extern const NetworkOps kNetworkOps;
}
namespace avx2 {
extern const NetworkOps kNetworkOps;
}
#endif
namespace portable {
extern const NetworkOps kNetworkOps;
}

const NetworkOps* network_ops(const char* name) {
  const auto chosen = [name](const NetworkOps& ops) {
    return !name || std::strcmp(name, ops.name) == 0;
  };
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool fma = __builtin_cpu_supports("fma");
  if (chosen(avx512::kNetworkOps) && fma && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return &avx512::kNetworkOps;
  }
  if (chosen(avx2::kNetworkOps) && fma && __builtin_cpu_supports("avx2")) return &avx2::kNetworkOps;
#endif
  return chosen(portable::kNetworkOps) ? &portable::kNetworkOps : nullptr;
}

void pack_rows(const float* from, size_t ld, size_t n, size_t k, size_t panel, float* to) {
  for (size_t p = 0; p < n; p += panel, to += panel * k) {
    const size_t rows = n - p < panel ? n - p : panel;
    if (rows < panel) std::memset(to, 0, panel * k * sizeof(float));
    // A few columns at a time, so that what is written stays in the cache until it is whole.
    constexpr size_t kColumns = 16;
    for (size_t c = 0; c < k; c += kColumns) {
      const size_t end = k - c < kColumns ? k : c + kColumns;
      for (size_t j = 0; j < rows; ++j) {
        const float* row = from + (p + j) * ld;
        for (size_t i = c; i < end; ++i) to[i * panel + j] = row[i];
      }
    }
  }
}

namespace {

// `n` floats, and zeros up to `all`. The sizes of whole panels and tiles are a few instructions; a
// call for each of them costs as much as the copy.
void copy_padded(const float* from, size_t n, size_t all, float* to) {
  switch (n) {
    case 32:
      std::memcpy(to, from, 32 * sizeof(float));
      break;
    case 16:
      std::memcpy(to, from, 16 * sizeof(float));
      break;
    case 14:
      std::memcpy(to, from, 14 * sizeof(float));
      break;
    default:
      std::memcpy(to, from, n * sizeof(float));
  }
  if (n < all) std::memset(to + n, 0, (all - n) * sizeof(float));
}

}  // namespace

void pack_columns(const float* from, size_t ld, size_t n, size_t k, size_t panel, float* to) {
  for (size_t p = 0; p < n; p += panel) {
    const size_t columns = n - p < panel ? n - p : panel;
    for (size_t i = 0; i < k; ++i, to += panel) copy_padded(from + i * ld + p, columns, panel, to);
  }
}

void repack(const float* packed, size_t n, size_t k, size_t panel, size_t first_panel,
            size_t last_panel, float* to) {
  for (size_t p = first_panel; p < last_panel; ++p) {
    for (size_t q = 0; q < n; q += panel) {
      // A block of rows q… of B' and columns p·panel… is one of the packed matrix, transposed.
      const float* from = packed + q * k + p * panel * panel;
      const size_t columns = k - p * panel < panel ? k - p * panel : panel;
      const size_t rows = n - q < panel ? n - q : panel;
      float* block = to + (p * n + q) * panel;
      for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < panel; ++j)
          block[i * panel + j] = j < columns ? from[j * panel + i] : 0.0f;
      }
    }
  }
}

void pack_tiles(const float* from, size_t ld, size_t m, size_t k, size_t row_tile,
                size_t first_tile, size_t last_tile, float* to) {
  for (size_t t = first_tile; t < last_tile; ++t) {
    const size_t row = t * row_tile, rows = m - row < row_tile ? m - row : row_tile;
    float* out = to + row * k;
    for (size_t i = 0; i < k; ++i, out += row_tile)
      copy_padded(from + i * ld + row, rows, row_tile, out);
  }
}

}  // namespace stockpot
