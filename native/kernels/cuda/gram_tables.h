#pragma once
// How the work of a Gram matrix of k inputs is cut: into blocks of kGramSide rows and columns, on
// and above the diagonal.
#include "tables.h"

namespace stockpot::cuda {

constexpr uint32_t kGramSide = 8;
constexpr uint32_t kGramSums = kGramSide * kGramSide;

// Blocks on and above the diagonal, row by row: block `index` of a matrix of `blocks` block rows,
// and back.
struct GramPosition {
  uint32_t row, column;
};
STOCKPOT_HD inline GramPosition gram_position(uint32_t index, uint32_t blocks) {
  uint32_t row = 0;
  while (index >= blocks - row) {
    index -= blocks - row;
    ++row;
  }
  return {row, row + index};
}
STOCKPOT_HD inline uint32_t gram_index(GramPosition p, uint32_t blocks) {
  return p.row * blocks - p.row * (p.row - 1) / 2 + p.column - p.row;
}
STOCKPOT_HD inline uint32_t gram_pairs_of(uint32_t blocks) { return blocks * (blocks + 1) / 2; }
STOCKPOT_HD inline uint32_t gram_blocks(uint32_t k) { return (k + kGramSide - 1) / kGramSide; }
STOCKPOT_HD inline uint32_t gram_pairs(uint32_t k) { return gram_pairs_of(gram_blocks(k)); }

}  // namespace stockpot::cuda
