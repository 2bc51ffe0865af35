#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph.h"

namespace stockpot {

inline size_t divide_up(size_t n, size_t by) { return (n + by - 1) / by; }
inline size_t up(size_t n, size_t to) { return divide_up(n, to) * to; }

// Sizes of the pieces that work is cut into; no result depends on them.
constexpr size_t kRowTiles =
    8;  // of a block of rows of a product: its part of A stays in the second-level cache
constexpr size_t kPackedFloats = 4 << 20;  // of the operands of a product over the batch, at a time

// Rows of the batch that a product [m, n] over them packs at a time.
size_t depth_at_once(size_t m, size_t n, uint64_t rows);

// Per weight: 0 as stored, 1 packed from [n, k], 2 packed from [k, n]; + 4: stored beside.
std::vector<uint8_t> how_packed(const Graph& graph);

}  // namespace stockpot
