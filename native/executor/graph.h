#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "../kernels/network_ops.h"

namespace stockpot {

// The operations of lib/models/graph.ts, which says what each does. Indexes are positions in
// Graph's tables; -1: none.
enum class OpKind : uint8_t {
  kPatches,
  kEmbedding,
  kAddRows,
  kAddRow,
  kAdd,
  kPrependRow,
  kLinear,
  kLayerNorm,
  kRmsNorm,
  kAttention,
  kSelectRow,
  kSelectRowById,
  kMeanRows,
  kL2Normalize,
  kScale,
  kSimilarity,
  kLogLikelihood,
};

struct GraphOp {
  OpKind kind;
  int32_t out = -1;
  int32_t x = -1, y = -1,
          z = -1;      // values: x; add: a, b; attention: q, k, v; linear: x, multiply, residual
  int32_t input = -1;  // or the attention's mask
  int32_t weight = -1, bias = -1, scale_weight = -1;  // or table, row, exp
  Activation activation = Activation::kNone;
  bool transposed = false;
  float number = 0;  // epsilon, scale
  // patches: channels, height, width, patch. attention: q, k, v columns, heads, width, groups,
  // shared_kv, causal. add_rows: first. add_row: row. select_row: index. select_row_by_id: equal or
  // -1. mean_rows: from. log_likelihood: classes.
  std::vector<int64_t> numbers;
  std::vector<int32_t> buckets;  // attention's relative positions
};

struct GraphInput {
  std::string name;
  bool integers = false;
  uint64_t elements = 0;  // an example, or in all where shared
  bool shared = false;
};

// Most floats of a graph's values, weights and inputs together, an example.
constexpr uint64_t kMostFloats = uint64_t{1} << 40;

// a * b, or kMostFloats + 1 where it is more than kMostFloats.
constexpr uint64_t times(uint64_t a, uint64_t b) {
  return b && a > kMostFloats / b ? kMostFloats + 1 : a * b;
}

inline uint64_t product(const std::vector<uint64_t>& sizes) {
  uint64_t n = 1;
  for (uint64_t d : sizes) n = times(n, d);
  return n;
}

struct GraphWeight {
  std::vector<uint64_t> shape;
  uint64_t elements() const { return product(shape); }
};

struct GraphValue {
  uint64_t rows = 0, columns = 0;  // rows an example
  uint64_t size() const { return rows * columns; }
};

struct Graph {
  std::vector<GraphInput> inputs;
  std::vector<GraphWeight> weights;
  std::vector<GraphValue> values;
  std::vector<GraphOp> ops;
  int32_t output = -1;
};

// Checks every index, shape and size against each other, so that running cannot read or write out
// of place. Returns
// "" or what is wrong; that is a mistake of whoever built the graph.
std::string check(const Graph& graph);

}  // namespace stockpot
