#pragma once
// What one thread adds up for one tile of one block of the Gram matrix: kGramBlock rows times as
// many columns, all products of differences from the reference.
#include "tables.h"
#include "values.h"

namespace stockpot::cuda {

constexpr int kGramBlock = 8;
constexpr int kGramSums = kGramBlock * kGramBlock;
constexpr int kGramCount = 4;  // elements at a time

// Blocks on and above the diagonal, row by row: block `index` of a matrix of `blocks` block rows.
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
STOCKPOT_HD inline uint32_t gram_blocks(uint32_t k) { return (k + kGramBlock - 1) / kGramBlock; }
STOCKPOT_HD inline uint32_t gram_pairs(uint32_t k) {
  return gram_blocks(k) * (gram_blocks(k) + 1) / 2;
}

// Element by element, as for the last few of a tensor.
template <bool kDiagonal>
STOCKPOT_HD inline void add_products_slowly(const stockpot_tensor& tensor,
                                            const stockpot_input* inputs, int rows,
                                            const stockpot_input* columns_of, int columns,
                                            uint64_t e, uint64_t end, double* sum) {
  for (; e < end; ++e) {
    const double r = tensor.other ? load_any(tensor.other, tensor.other_dtype, e) : 0.0;
    double x[kGramBlock];
    STOCKPOT_UNROLL
    for (int a = 0; a < kGramBlock; ++a) {
      x[a] = a < rows ? add_rn(load_any(inputs[a].data, inputs[a].dtype, e), -r) : 0.0;
    }
    STOCKPOT_UNROLL
    for (int b = 0; b < kGramBlock; ++b) {
      if (b < columns) {
        const double y = add_rn(load_any(columns_of[b].data, columns_of[b].dtype, e), -r);
        STOCKPOT_UNROLL
        for (int a = 0; a < kGramBlock; ++a) {
          if (!kDiagonal || a <= b) {
            sum[a * kGramBlock + b] = fma_rn(x[a], y, sum[a * kGramBlock + b]);
          }
        }
      }
    }
  }
}

template <DType T, bool kDiagonal>
STOCKPOT_HD inline void add_products(const stockpot_tensor& tensor, const stockpot_input* inputs,
                                     int rows, const stockpot_input* columns_of, int columns,
                                     uint64_t e, double* sum) {
  double reference[kGramCount];
  if (tensor.other) {
    STOCKPOT_UNROLL
    for (int j = 0; j < kGramCount; ++j)
      reference[j] = load_any(tensor.other, tensor.other_dtype, e + j);
  } else {
    STOCKPOT_UNROLL
    for (int j = 0; j < kGramCount; ++j) reference[j] = 0;
  }
  Vector<T, kGramCount> raw[kGramBlock];
  STOCKPOT_UNROLL
  for (int a = 0; a < kGramBlock; ++a) {
    if (a < rows) raw[a].load(inputs[a].data, e, false);
  }
  double x[kGramBlock][kGramCount];
  STOCKPOT_UNROLL
  for (int a = 0; a < kGramBlock; ++a) {
    STOCKPOT_UNROLL
    for (int j = 0; j < kGramCount; ++j) {
      x[a][j] = a < rows ? add_rn(raw[a][j], -reference[j]) : 0.0;
    }
  }
  STOCKPOT_UNROLL
  for (int b = 0; b < kGramBlock; ++b) {
    if (b < columns) {
      double y[kGramCount];
      if constexpr (kDiagonal) {
        STOCKPOT_UNROLL
        for (int j = 0; j < kGramCount; ++j) y[j] = x[b][j];
      } else {
        Vector<T, kGramCount> column;
        column.load(columns_of[b].data, e, false);
        STOCKPOT_UNROLL
        for (int j = 0; j < kGramCount; ++j) y[j] = add_rn(column[j], -reference[j]);
      }
      STOCKPOT_UNROLL
      for (int a = 0; a < kGramBlock; ++a) {
        if (!kDiagonal || a <= b) {
          STOCKPOT_UNROLL
          for (int j = 0; j < kGramCount; ++j) {
            sum[a * kGramBlock + b] = fma_rn(x[a][j], y[j], sum[a * kGramBlock + b]);
          }
        }
      }
    }
  }
}

// sum[a · kGramBlock + b] for thread `thread` of tile `tile` of a launch of one kind; on the
// diagonal (kDiagonal: p.row == p.column) only a ≤ b.
template <Types kTypes, bool kDiagonal>
STOCKPOT_HD inline void gram_thread(const Tables& t, const Facts& facts, uint64_t tile,
                                    GramPosition p, uint32_t thread, double* sum) {
  const stockpot_tensor& tensor = t.tensors[facts.tensor];
  const stockpot_input* row_inputs = t.inputs + tensor.first_input + p.row * kGramBlock;
  const stockpot_input* column_inputs = t.inputs + tensor.first_input + p.column * kGramBlock;
  const int rows = static_cast<int>(t.k - p.row * kGramBlock);
  const int columns = static_cast<int>(t.k - p.column * kGramBlock);
  const uint64_t begin = (tile - facts.launch_tile) * kGramTile;
  for (uint32_t from = 0; from < kGramTile; from += kThreads * kGramCount) {
    const uint64_t e = begin + from + thread * kGramCount;
    if (e >= tensor.elements) break;
    const uint64_t end = e + kGramCount < tensor.elements ? e + kGramCount : tensor.elements;
    if constexpr (kTypes == Types::kOther) {
      add_products_slowly<kDiagonal>(tensor, row_inputs, rows, column_inputs, columns, e, end, sum);
    } else if (end - e == kGramCount) {
      add_products<dtype_of<kTypes>(), kDiagonal>(tensor, row_inputs, rows, column_inputs, columns,
                                                  e, sum);
    } else {
      add_products_slowly<kDiagonal>(tensor, row_inputs, rows, column_inputs, columns, e, end, sum);
    }
  }
}

}  // namespace stockpot::cuda
