#pragma once
// What one thread adds up for one tile of the dot products of `other` (a gradient) with kDotsBatch
// of the inputs. A product of two values of at most 24 bits is exact in float64, and the fused
// multiply-add rounds the sum once.
#include "tables.h"
#include "values.h"

namespace stockpot::cuda {

constexpr int kDotsBatch = 8;

// Where `other` and its kCount elements come from: float32 by vectors, else one by one.
template <int kCount>
STOCKPOT_HD inline void load_other(const stockpot_tensor& tensor, uint64_t e, double* g) {
  if (tensor.other_dtype == static_cast<uint32_t>(DType::kF32)) {
    STOCKPOT_UNROLL
    for (int j = 0; j < kCount; j += 4) {
      const Words w = load_again(tensor.other + (e + j) * 4);
      STOCKPOT_UNROLL
      for (int i = 0; i < 4; ++i) g[j + i] = element<DType::kF32>(w, i);
    }
  } else {
    STOCKPOT_UNROLL
    for (int j = 0; j < kCount; ++j) g[j] = load_any(tensor.other, tensor.other_dtype, e + j);
  }
}

// Element by element, as for the last few of a tensor.
STOCKPOT_HD inline void add_dots_slowly(const stockpot_tensor& tensor, const stockpot_input* inputs,
                                        int count, uint64_t e, uint64_t end, double* sum) {
  for (; e < end; ++e) {
    const double g = load_any(tensor.other, tensor.other_dtype, e);
    STOCKPOT_UNROLL
    for (int b = 0; b < kDotsBatch; ++b) {
      if (b < count) {
        sum[b] = fma_rn(g, load_any(inputs[b].data, inputs[b].dtype, e), sum[b]);
      }
    }
  }
}

template <DType T, int kCount>
STOCKPOT_HD inline void add_dots(const stockpot_tensor& tensor, const stockpot_input* inputs,
                                 int count, uint64_t e, double* sum) {
  Vector<T, kCount> x[kDotsBatch];
  STOCKPOT_UNROLL
  for (int b = 0; b < kDotsBatch; ++b) {
    if (b < count) x[b].load(inputs[b].data, e, true);
  }
  double g[kCount];
  load_other<kCount>(tensor, e, g);
  STOCKPOT_UNROLL
  for (int b = 0; b < kDotsBatch; ++b) {
    if (b < count) {
      STOCKPOT_UNROLL
      for (int j = 0; j < kCount; ++j) sum[b] = fma_rn(g[j], x[b][j], sum[b]);
    }
  }
}

// Four elements of inputs of several types.
STOCKPOT_HD inline void add_mixed_dots(const stockpot_tensor& tensor, const stockpot_input* inputs,
                                       int count, uint64_t e, double* sum) {
  FourOfAny x[kDotsBatch];
  STOCKPOT_UNROLL
  for (int b = 0; b < kDotsBatch; ++b) {
    if (b < count) x[b].load(inputs[b].data, inputs[b].dtype, e);
  }
  double g[4], v[4];
  load_other<4>(tensor, e, g);
  STOCKPOT_UNROLL
  for (int b = 0; b < kDotsBatch; ++b) {
    if (b < count) {
      x[b].values(v);
      STOCKPOT_UNROLL
      for (int j = 0; j < 4; ++j) sum[b] = fma_rn(g[j], v[j], sum[b]);
    }
  }
}

// A thread takes facts.count consecutive elements, leaves out those of the others, and so on: by
// vectors or, where they are not aligned, one by one, in the same order. Not inlined: each of these
// loops needs the registers.
template <Types kTypes>
STOCKPOT_NOINLINE STOCKPOT_HD inline void dots_loop(const Tables& t, const Facts& facts,
                                                    uint64_t begin, uint32_t first, uint32_t thread,
                                                    double* sum) {
  const stockpot_tensor& tensor = t.tensors[facts.tensor];
  const stockpot_input* inputs = t.inputs + tensor.first_input + first;
  const int count = static_cast<int>(t.k - first < kDotsBatch ? t.k - first : kDotsBatch);
  const uint32_t each = kTypes == Types::kF32 || kTypes == Types::kMixed  ? 4
                        : kTypes == Types::kF16 || kTypes == Types::kBF16 ? 8
                                                                          : facts.count;
  double s[kDotsBatch];
  STOCKPOT_UNROLL
  for (int b = 0; b < kDotsBatch; ++b) s[b] = 0;
  STOCKPOT_ROLLED
  for (uint32_t from = 0; from < kDotsTile; from += kThreads * each) {
    const uint64_t e = begin + from + thread * each;
    if (e >= tensor.elements) break;
    const uint64_t end = e + each < tensor.elements ? e + each : tensor.elements;
    if (kTypes == Types::kOther || end - e != each) {
      add_dots_slowly(tensor, inputs, count, e, end, s);
    } else if constexpr (kTypes == Types::kF32) {
      add_dots<DType::kF32, 4>(tensor, inputs, count, e, s);
    } else if constexpr (kTypes == Types::kF16) {
      add_dots<DType::kF16, 8>(tensor, inputs, count, e, s);
    } else if constexpr (kTypes == Types::kBF16) {
      add_dots<DType::kBF16, 8>(tensor, inputs, count, e, s);
    } else if constexpr (kTypes == Types::kMixed) {
      add_mixed_dots(tensor, inputs, count, e, s);
    }
  }
  STOCKPOT_UNROLL
  for (int b = 0; b < kDotsBatch; ++b) sum[b] = s[b];
}

// sum[b] of inputs first, first + 1, … for thread `thread` of tile `tile`.
STOCKPOT_HD inline void dots_thread(const Tables& t, const Facts& facts, uint64_t tile,
                                    uint32_t first, uint32_t thread, double* sum) {
  const uint64_t begin = (tile - facts.first_tile) * kDotsTile;
  switch (facts.types) {
    case Types::kF32:
      return dots_loop<Types::kF32>(t, facts, begin, first, thread, sum);
    case Types::kF16:
      return dots_loop<Types::kF16>(t, facts, begin, first, thread, sum);
    case Types::kBF16:
      return dots_loop<Types::kBF16>(t, facts, begin, first, thread, sum);
    case Types::kMixed:
      return dots_loop<Types::kMixed>(t, facts, begin, first, thread, sum);
    default:
      return dots_loop<Types::kOther>(t, facts, begin, first, thread, sum);
  }
}

}  // namespace stockpot::cuda
