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

// Which loop a tensor takes.
enum class Types : uint8_t {
  kF32,  // all inputs (and the other vector) of one type, aligned
  kF16,
  kBF16,
  kMixed,  // any of them and fp8, aligned
  kOther,  // float64 among them, or not aligned: element by element
};

// What the host finds out about a tensor once. Tensors of one kind (types, and equal weights or
// not) follow each other and are one launch.
struct Facts {
  uint64_t launch_tile;  // number of its first tile in its launch
  uint64_t first_tile;   // and among all of the plan, in the order of the tensors
  double threshold;      // MEAN: means of this magnitude overflow
  uint32_t tensor;       // position in Tables::tensors
  int32_t span;          // MEAN: exact_span
};

// What one launch walks through. All addresses are the device's.
struct Tables {
  const stockpot_tensor* tensors;
  const stockpot_input* inputs;
  const double* weights;
  const Facts* facts;  // of this launch's tensors
  uint64_t tiles;      // of this launch
  uint64_t result;
  double* partial;  // DOTS, GRAM: a row of sums for each of the plan's tiles
  uint32_t fact_count;
  uint32_t k;  // DOTS, GRAM
};

// The tensor that a launch's tile belongs to: the last whose first tile is not beyond it (tensors
// without elements have the first tile of their successor).
STOCKPOT_HD inline const Facts& find_tensor(const Facts* facts, uint32_t count, uint64_t tile) {
  uint32_t low = 0, high = count;
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    if (facts[middle].launch_tile <= tile) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return facts[low];
}

}  // namespace stockpot::cuda
