#pragma once
// The tables that a kernel walks through, and how work is cut: every tensor into tiles of
// kTileElements, a tile among the kThreads threads of a block. Nothing here depends on the device,
// so results do not either.
#include "../../backend/backend.h"
#include "../dtype.h"

namespace stockpot::cuda {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kMeanTile = 8192;
constexpr uint32_t kDotsTile = 8192;
constexpr uint32_t kGramTile = 65536;
constexpr uint32_t kMostGroups = 65535;  // of blocks in a grid's second dimension

// Which loop a tensor takes; the threads of a block all take the same.
enum class Types : uint8_t {
  kF32,  // all inputs (and the other vector) of one type, aligned
  kF16,
  kBF16,
  kMixed,  // any of them and fp8, aligned
  kOther,  // float64 among them, or not aligned: element by element
};

// What the host finds out about a tensor once.
struct Facts {
  uint64_t first_tile;  // tiles are numbered in the order of the tensors
  double threshold;     // MEAN: means of this magnitude overflow
  uint32_t tensor;      // position in Tables::tensors
  int32_t span;         // MEAN: exact_span
  Types types;
  bool equal;     // MEAN: equal weights
  uint8_t count;  // DOTS: consecutive elements of one thread; follows from the types alone
};

// What the one launch of a plan walks through. All addresses are the device's.
struct Tables {
  const stockpot_tensor* tensors;
  const stockpot_input* inputs;
  const double* weights;
  const Facts* facts;  // of the tensors that have elements
  uint64_t tiles;
  uint64_t result;
  double* partial;  // DOTS, GRAM: a row of sums for each tile
  uint32_t fact_count;
  uint32_t k;  // DOTS, GRAM
};

// The tensor that a tile belongs to: the last whose first tile is not beyond it.
STOCKPOT_HD inline const Facts& find_tensor(const Facts* facts, uint32_t count, uint64_t tile) {
  uint32_t low = 0, high = count;
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    if (facts[middle].first_tile <= tile) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return facts[low];
}

}  // namespace stockpot::cuda
