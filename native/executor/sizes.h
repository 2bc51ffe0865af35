#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph.h"

namespace stockpot {

// Sizes of the pieces that work is cut into; no result depends on them.
constexpr size_t kRowTiles =
    8;  // of a block of rows of a product: its part of A stays in the second-level cache
constexpr size_t kDepthAtOnce = 1024;  // rows of a product over the batch that are packed at a time

// Per weight: 0 as stored, 1 packed from [n, k], 2 packed from [k, n]; + 4: stored beside.
std::vector<uint8_t> how_packed(const Graph& graph);

}  // namespace stockpot
