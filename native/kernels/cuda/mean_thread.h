#pragma once
// What one thread does for one tile of a mean. A thread takes vectors of elements, reads all k
// inputs of a vector with several 16-byte loads under way, and watches the largest and least
// exponent of each element, as cpu/mean_vector.h does: where they lie close enough, every float64
// addition was exact. Elements that are in doubt are redone by the plain definition.
#include "../mean.h"
#include "../plain/mean_element.h"
#include "tables.h"
#include "values.h"

namespace stockpot::cuda {

// The k values of one element, read when they are asked for.
struct ElementValues {
  const stockpot_input* inputs;
  uint64_t e;
  STOCKPOT_HD double operator[](uint64_t i) const {
    return load_any(inputs[i].data, inputs[i].dtype, e);
  }
};

STOCKPOT_HD inline void count_one(uint64_t* counter) {
#if defined(__CUDA_ARCH__)
  atomicAdd(reinterpret_cast<unsigned long long*>(counter), 1ull);
#else
  ++*counter;
#endif
}

STOCKPOT_HD inline void store_element(DType t, uint64_t address, uint64_t e, double q,
                                      bool* overflow) {
  plain::store(t, reinterpret_cast<uint8_t*>(address) + e * byte_size(t),
               plain::round_to(t, q, overflow));
}

// s / k rounded to nearest where the quotient is ordinary (vectors.h), with reciprocal = RN(1 / k):
// each step adds the remainder, which the fused multiply-add gives exactly, and the last step
// rounds correctly because the one before it is within a unit in the last place (Markstein,
// "Computation of elementary functions on the IBM RISC System/6000 processor", 1990). Fewer
// instructions than the general division.
STOCKPOT_HD inline double divide(double s, double k, double reciprocal) {
  const double q0 = mul_rn(s, reciprocal);
  const double q1 = fma_rn(fma_rn(-q0, k, s), reciprocal, q0);
  const double q2 = fma_rn(fma_rn(-q1, k, s), reciprocal, q1);
  return q0 == 0 ? q0 : q2;  // keeps the sign of zero
}

// One element by the plain definition: all types, all values, any alignment.
STOCKPOT_HD inline void mean_element(const Tables& t, uint32_t index, uint64_t e) {
  const stockpot_tensor& tensor = t.tensors[index];
  const stockpot_input* inputs = t.inputs + tensor.first_input;
  const double* weights = tensor.weights < 0 ? nullptr : t.weights + tensor.weights;
  auto* report = reinterpret_cast<stockpot_mean_report*>(t.result) + index;
  const ElementValues x{inputs, e};
  bool finite = true;
  STOCKPOT_ROLLED
  for (uint32_t i = 0; i < tensor.inputs; ++i) finite = finite && plain::is_finite(x[i]);
  const double q = weights ? plain::weighted_sum(x, weights, tensor.inputs)
                           : plain::equal_mean(x, tensor.inputs, finite);
  bool overflow = !plain::is_finite(q), second_overflow = false;
  store_element(static_cast<DType>(tensor.out_dtype), tensor.out, e, q, &overflow);
  if (tensor.second) {
    store_element(static_cast<DType>(tensor.second_dtype), tensor.second, e, q, &second_overflow);
  }
  if (!finite) {
    count_one(&report->nonfinite);
  } else if (overflow) {
    count_one(&report->overflows);
  }
}

STOCKPOT_NOINLINE STOCKPOT_HD inline void mean_elements(const Tables& t, uint32_t index, uint64_t e,
                                                        int count) {
  const uint64_t elements = t.tensors[index].elements;
  STOCKPOT_ROLLED
  for (int j = 0; j < count && e + j < elements; ++j) mean_element(t, index, e + j);
}

// kCount consecutive elements in type T at an aligned address.
template <DType T, int kCount>
STOCKPOT_HD inline void store_vector(uint64_t address, uint64_t e, const double* q) {
  if constexpr (T == DType::kF64) {
    for (int j = 0; j < kCount; j += 2) {
      const uint64_t a = plain::to_bits64(q[j]), b = plain::to_bits64(q[j + 1]);
      store_once(address + (e + j) * 8,
                 {{static_cast<uint32_t>(a), static_cast<uint32_t>(a >> 32),
                   static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32)}});
    }
  } else if constexpr (T == DType::kF32) {
    for (int j = 0; j < kCount; j += 4) {
      store_once(address + (e + j) * 4, {{round_bits<T>(q[j]), round_bits<T>(q[j + 1]),
                                          round_bits<T>(q[j + 2]), round_bits<T>(q[j + 3])}});
    }
  } else {
    uint32_t words[kCount / 2];
    for (int j = 0; j < kCount / 2; ++j) {
      words[j] = round_bits<T>(q[2 * j]) | round_bits<T>(q[2 * j + 1]) << 16;
    }
    if constexpr (kCount == 8) {
      store_once(address + e * 2, {{words[0], words[1], words[2], words[3]}});
    } else {
      static_assert(kCount == 4, "four or eight elements");
#if defined(__CUDA_ARCH__)
      __stcs(reinterpret_cast<uint2*>(address + e * 2), make_uint2(words[0], words[1]));
#else
      std::memcpy(reinterpret_cast<void*>(address + e * 2), words, 8);
#endif
    }
  }
}

template <int kCount>
STOCKPOT_HD inline void store_as(uint32_t dtype, uint64_t address, uint64_t e, const double* q) {
  switch (static_cast<DType>(dtype)) {
    case DType::kF64:
      return store_vector<DType::kF64, kCount>(address, e, q);
    case DType::kF32:
      return store_vector<DType::kF32, kCount>(address, e, q);
    case DType::kF16:
      return store_vector<DType::kF16, kCount>(address, e, q);
    default:
      return store_vector<DType::kBF16, kCount>(address, e, q);
  }
}

// How the inputs of a vector of elements are read, and what is watched of them.

// All of type T: one vector is sixteen bytes.
template <DType T>
struct OneType {
  static constexpr int kElements = T == DType::kF32 ? 4 : 8;
  static constexpr bool kWide = false;
  using Raw = Words;
  static STOCKPOT_HD Raw load(const stockpot_input& input, uint64_t e) {
    return load_once(input.data + e * (T == DType::kF32 ? 4 : 2));
  }
  static STOCKPOT_HD float value(const Raw& raw, const stockpot_input&, int j) {
    return element<T>(raw, j);
  }

  // Largest and least magnitude as bit patterns; 16-bit types two a word.
  struct Watch {
    uint32_t largest[4], least[4];
    STOCKPOT_HD void start() {
      for (int w = 0; w < 4; ++w) {
        largest[w] = 0;
        least[w] = 0xFFFFFFFFu;
      }
    }
    STOCKPOT_HD void see(const Raw& raw, const stockpot_input&) {
      for (int w = 0; w < 4; ++w) {
        if constexpr (T == DType::kF32) {
          // 0 becomes the largest number: zeros do not narrow the span.
          const uint32_t m = raw.word[w] & 0x7FFFFFFFu;
          largest[w] = largest[w] > m ? largest[w] : m;
          least[w] = least[w] < m - 1 ? least[w] : m - 1;
        } else {
          const uint32_t m = raw.word[w] & 0x7FFF7FFFu;
          largest[w] = max_halves(largest[w], m);
          if constexpr (T == DType::kBF16) least[w] = min_halves(least[w], minus_one_halves(m));
        }
      }
    }
    STOCKPOT_HD bool doubtful(int32_t span, bool equal) const {
      bool bad = false;
      for (int w = 0; w < 4; ++w) {
        if constexpr (T == DType::kF32) {
          bad = bad || largest[w] >= 0x7F800000u;
          bad = bad || (equal && static_cast<int32_t>(largest[w] - least[w]) > span);
        } else {
          const uint32_t infinity = T == DType::kBF16 ? 0x7F80u : 0x7C00u;
          const uint32_t low = largest[w] & 0xFFFF, high = largest[w] >> 16;
          bad = bad || low >= infinity || high >= infinity;
          if constexpr (T == DType::kBF16) {
            const uint16_t d = static_cast<uint16_t>(low - (least[w] & 0xFFFF));
            const uint16_t f = static_cast<uint16_t>(high - (least[w] >> 16));
            bad = bad || (equal && (d > span >> 16 || f > span >> 16));
          } else {
            // Sums of f16 are exact for every k up to 8192.
            bad = bad || (equal && span != 0x7FFFFFFF);
          }
        }
      }
      return bad;
    }
  };
};

// Eight elements of F32, F16, BF16 or fp8 each, by the input's own type.
struct MixedTypes {
  static constexpr int kElements = 8;
  static constexpr bool kWide = true;  // takes so many registers that fewer loads are under way
  struct Raw {
    Words first, second;  // fp8: half of first; 16 bits: first; F32: both
  };
  static STOCKPOT_HD Raw load(const stockpot_input& input, uint64_t e) {
    Raw r{};
    const DType t = static_cast<DType>(input.dtype);
    const uint64_t at = input.data + e * byte_size(t);
    if (byte_size(t) == 1) {
#if defined(__CUDA_ARCH__)
      const uint2 v = __ldcs(reinterpret_cast<const uint2*>(at));
      r.first.word[0] = v.x;
      r.first.word[1] = v.y;
#else
      std::memcpy(&r.first, reinterpret_cast<const void*>(at), 8);
#endif
    } else {
      r.first = load_once(at);
      if (t == DType::kF32) r.second = load_once(at + 16);
    }
    return r;
  }
  static STOCKPOT_HD float value(const Raw& raw, const stockpot_input& input, int j) {
    const DType t = static_cast<DType>(input.dtype);
    switch (t) {
      case DType::kF32:
        return element<DType::kF32>(j < 4 ? raw.first : raw.second, j % 4);
      case DType::kF16:
        return element<DType::kF16>(raw.first, j);
      case DType::kBF16:
        return element<DType::kBF16>(raw.first, j);
      default:
        return fp8_value(t == DType::kF8E5M2, raw.first.word[j / 4] >> j % 4 * 8 & 0xFFu);
    }
  }
  struct Watch {
    uint32_t largest[8], least[8];
    STOCKPOT_HD void start() {
      for (int j = 0; j < 8; ++j) {
        largest[j] = 0;
        least[j] = 0xFFFFFFFFu;
      }
    }
    STOCKPOT_HD void see(const Raw& raw, const stockpot_input& input) {
      for (int j = 0; j < 8; ++j) {
        const uint32_t m = bits_of(value(raw, input, j)) & 0x7FFFFFFFu;
        largest[j] = largest[j] > m ? largest[j] : m;
        least[j] = least[j] < m - 1 ? least[j] : m - 1;
      }
    }
    STOCKPOT_HD bool doubtful(int32_t span, bool equal) const {
      bool bad = false;
      for (int j = 0; j < 8; ++j) {
        bad = bad || largest[j] >= 0x7F800000u;
        bad = bad || (equal && static_cast<int32_t>(largest[j] - least[j]) > span);
      }
      return bad;
    }
  };
};

// kVectors vectors at once, of kBatch inputs each: as many loads are under way before the first is
// used. at[v] is the position of a vector's first element.
template <class Load, bool kEqual, int kBatch, int kVectors>
STOCKPOT_HD inline void mean_vectors(const Tables& t, const Facts& facts, const uint64_t* at) {
  constexpr int kElements = Load::kElements;
  const stockpot_tensor& tensor = t.tensors[facts.tensor];
  const stockpot_input* inputs = t.inputs + tensor.first_input;
  const double* weights = t.weights + (kEqual ? 0 : tensor.weights);
  const uint64_t elements = tensor.elements;
  const uint32_t k = tensor.inputs;
  double sum[kVectors][kElements];
  typename Load::Watch watch[kVectors];
  bool whole[kVectors];
  STOCKPOT_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    whole[v] = at[v] + kElements <= elements;
    watch[v].start();
    STOCKPOT_UNROLL
    for (int j = 0; j < kElements; ++j) sum[v][j] = -0.0;  // x + -0 is x, also for -0
  }
  for (uint32_t i = 0; i < k; i += kBatch) {
    typename Load::Raw raw[kBatch][kVectors];
    STOCKPOT_UNROLL
    for (int b = 0; b < kBatch; ++b) {
      STOCKPOT_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        if (i + b < k && whole[v]) raw[b][v] = Load::load(inputs[i + b], at[v]);
      }
    }
    STOCKPOT_UNROLL
    for (int b = 0; b < kBatch; ++b) {
      if (i + b < k) {
        const double w = kEqual ? 0 : weights[i + b];
        STOCKPOT_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          if (whole[v]) {
            watch[v].see(raw[b][v], inputs[i + b]);
            STOCKPOT_UNROLL
            for (int j = 0; j < kElements; ++j) {
              const double x = Load::value(raw[b][v], inputs[i + b], j);
              sum[v][j] = add_rn(sum[v][j], kEqual ? x : mul_rn(w, x));
            }
          }
        }
      }
    }
  }
  const double reciprocal = div_rn(1.0, k);
  uint32_t doubtful = 0;
  STOCKPOT_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    bool doubt = !whole[v] || watch[v].doubtful(facts.span, kEqual);
    STOCKPOT_UNROLL
    for (int j = 0; j < kElements; ++j) {
      if (kEqual) sum[v][j] = divide(sum[v][j], k, reciprocal);
      doubt = doubt || !(fabs(sum[v][j]) < facts.threshold) || !is_ordinary(sum[v][j]);
    }
    if (doubt) {
      doubtful |= 1u << v;
    } else {
      store_as<kElements>(tensor.out_dtype, tensor.out, at[v], sum[v]);
      if (tensor.second) store_as<kElements>(tensor.second_dtype, tensor.second, at[v], sum[v]);
    }
  }
  // Last, so that nothing else needs a register meanwhile.
  STOCKPOT_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    if (doubtful >> v & 1) mean_elements(t, facts.tensor, at[v], kElements);
  }
}

// A thread's part of a tile. Not inlined: each of these loops needs all registers, and the kernel
// has all of them.
template <class Load, bool kEqual, int kBatch, int kVectors>
STOCKPOT_NOINLINE STOCKPOT_HD inline void mean_loop(const Tables& t, const Facts& facts,
                                                    uint64_t begin, uint32_t thread) {
  constexpr uint32_t kStep = kThreads * Load::kElements;
  STOCKPOT_ROLLED
  for (uint32_t from = 0; from < kMeanTile; from += kVectors * kStep) {
    uint64_t at[kVectors];
    STOCKPOT_UNROLL
    for (int v = 0; v < kVectors; ++v) at[v] = begin + from + v * kStep + thread * Load::kElements;
    mean_vectors<Load, kEqual, kBatch, kVectors>(t, facts, at);
  }
}

template <class Load, bool kEqual>
STOCKPOT_HD inline void mean_tile(const Tables& t, const Facts& facts, uint64_t begin,
                                  uint32_t thread) {
  if constexpr (Load::kWide) {
    mean_loop<Load, kEqual, 4, 1>(t, facts, begin, thread);
  } else if (t.tensors[facts.tensor].inputs <= 4) {
    mean_loop<Load, kEqual, 4, 2>(t, facts, begin, thread);  // few inputs: each of two vectors
  } else {
    mean_loop<Load, kEqual, 8, 1>(t, facts, begin, thread);
  }
}

template <bool kEqual>
STOCKPOT_HD inline void mean_by_types(const Tables& t, const Facts& facts, uint64_t begin,
                                      uint32_t thread) {
  switch (facts.types) {
    case Types::kF32:
      return mean_tile<OneType<DType::kF32>, kEqual>(t, facts, begin, thread);
    case Types::kF16:
      return mean_tile<OneType<DType::kF16>, kEqual>(t, facts, begin, thread);
    case Types::kBF16:
      return mean_tile<OneType<DType::kBF16>, kEqual>(t, facts, begin, thread);
    case Types::kMixed:
      return mean_tile<MixedTypes, kEqual>(t, facts, begin, thread);
    default: {
      const uint64_t elements = t.tensors[facts.tensor].elements;
      const uint64_t end = begin + kMeanTile < elements ? begin + kMeanTile : elements;
      for (uint64_t e = begin + thread; e < end; e += kThreads)
        mean_elements(t, facts.tensor, e, 1);
    }
  }
}

// Thread `thread` of a block's work on tile `tile`.
STOCKPOT_HD inline void mean_thread(const Tables& t, uint64_t tile, uint32_t thread) {
  const Facts& facts = find_tensor(t.facts, t.fact_count, tile);
  const uint64_t begin = (tile - facts.first_tile) * kMeanTile;
  return facts.equal ? mean_by_types<true>(t, facts, begin, thread)
                     : mean_by_types<false>(t, facts, begin, thread);
}

}  // namespace stockpot::cuda
