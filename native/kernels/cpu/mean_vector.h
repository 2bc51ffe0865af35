#pragma once
// The mean on vectors, written once for every instruction set. An instruction set is a type V
// (mean_avx2.cc, …) with kLanes float32 lanes, as two halves of float64 lanes. No std:: here: this
// header is compiled for instruction sets that the machine may not have, and a std:: function
// instantiated here could be the copy that the linker keeps for all.
//
// All types but F64 convert exactly to float32, so exponents are watched there: if, over the k
// inputs of an element, the largest and the least exponent lie close enough, every float64 addition
// is exact, and the plain definition holds. Where they do not, or where something is not finite or
// overflows, the group of lanes is handed to the reference.
#include "../mean.h"

namespace stockpot::vector {

constexpr int32_t kInfinityBits = 0x7F800000;

// The least float64 magnitude that rounds to infinity in t.
inline double overflow_threshold(DType t) {
  switch (t) {
    case DType::kF16:
      return 65520.0;
    case DType::kBF16:
      return 0x1.FFp127;
    case DType::kF32:
      return 0x1.FFFFFFp127;
    default:
      return __builtin_inf();
  }
}

// Largest difference of two float32 bit patterns (as integers, one in 2^23 an exponent step) for
// which k addends of the types at hand sum exactly: each is a multiple of 2^(e_min - p + 1), and
// sums stay below k·2^(e_max + 1).
inline int32_t exact_span(const MeanArgs& a) {
  int bits = 0;
  bool half = true;
  for (uint32_t i = 0; i < a.k; ++i) {
    const int b = significand_bits(a.dtypes[i]);
    bits = b > bits ? b : bits;
    half = half && b <= 11 && a.dtypes[i] != DType::kBF16;
  }
  if (half && a.k <= kAlwaysExactHalfInputs) return 0x7FFFFFFF;
  int log2_k = 0;
  while ((uint64_t{1} << log2_k) < a.k) ++log2_k;
  const int span = 53 - bits - log2_k;
  return span <= 0 ? 0 : span << 23;  // a span of 0 sends every group to the reference
}

template <class V, DType T>
struct OneType {
  static typename V::F load(const MeanArgs& a, uint32_t i, size_t e) {
    return V::template load<T>(a.inputs[i] + e * byte_size(T));
  }
};

template <class V>
struct MixedTypes {
  static typename V::F load(const MeanArgs& a, uint32_t i, size_t e) {
    const uint8_t* p = a.inputs[i] + e * byte_size(a.dtypes[i]);
    switch (a.dtypes[i]) {
      case DType::kF32:
        return V::template load<DType::kF32>(p);
      case DType::kF16:
        return V::template load<DType::kF16>(p);
      case DType::kBF16:
        return V::template load<DType::kBF16>(p);
      case DType::kF8E4M3:
        return V::template load<DType::kF8E4M3>(p);
      default:
        return V::template load<DType::kF8E5M2>(p);
    }
  }
};

template <class V, class Load, DType Out, bool kEqual>
void groups(const MeanArgs& a, MeanReport* report) {
  using F = typename V::F;
  using D = typename V::D;
  using U = typename V::U;
  const D divisor = V::set(static_cast<double>(a.k));
  const D threshold = V::set(overflow_threshold(Out));
  const int32_t span = exact_span(a);
  const auto reference = [&a, report](size_t e, size_t n) {
    constexpr uint32_t kFew = 128;
    const uint8_t* few[kFew];
    const uint8_t** inputs = a.k <= kFew ? few : new const uint8_t*[a.k];
    for (uint32_t i = 0; i < a.k; ++i) inputs[i] = a.inputs[i] + e * byte_size(a.dtypes[i]);
    MeanArgs part = a;
    part.inputs = inputs;
    part.n = n;
    part.out = a.out + e * byte_size(Out);
    plain::mean(part, report);
    if (inputs != few) delete[] inputs;
  };
  size_t e = 0;
  for (; e + V::kLanes <= a.n; e += V::kLanes) {
    F v = Load::load(a, 0, e);
    D lo = V::low(v), hi = V::high(v);
    U largest = V::magnitude(v), least = V::minus_one(largest);
    if (!kEqual) {
      const D w = V::set(a.weights[0]);
      lo = V::mul(w, lo);
      hi = V::mul(w, hi);
    }
    for (uint32_t i = 1; i < a.k; ++i) {
      v = Load::load(a, i, e);
      const U m = V::magnitude(v);
      largest = V::max(largest, m);
      if (kEqual) {
        least =
            V::min(least, V::minus_one(m));  // 0 becomes the largest: zeros do not narrow the span
        lo = V::add(lo, V::low(v));
        hi = V::add(hi, V::high(v));
      } else {
        const D w = V::set(a.weights[i]);
        lo = V::add(lo, V::mul(w, V::low(v)));
        hi = V::add(hi, V::mul(w, V::high(v)));
      }
    }
    bool doubtful = V::any_above(largest, kInfinityBits - 1);
    if (kEqual) {
      lo = V::div(lo, divisor);
      hi = V::div(hi, divisor);
      doubtful = doubtful || V::any_above(V::sub(largest, least), span);
    }
    doubtful = doubtful || V::any_not_below(lo, hi, threshold);
    if (doubtful) {
      reference(e, V::kLanes);
    } else {
      V::template store<Out>(a.out + e * byte_size(Out), lo, hi);
    }
  }
  if (e < a.n) reference(e, a.n - e);
}

template <class V, class Load, DType Out>
void by_weights(const MeanArgs& a, MeanReport* report) {
  if (a.weights) {
    groups<V, Load, Out, false>(a, report);
  } else {
    groups<V, Load, Out, true>(a, report);
  }
}

template <class V, class Load>
void by_output(const MeanArgs& a, MeanReport* report) {
  switch (a.out_dtype) {
    case DType::kF64:
      return by_weights<V, Load, DType::kF64>(a, report);
    case DType::kF32:
      return by_weights<V, Load, DType::kF32>(a, report);
    case DType::kF16:
      return by_weights<V, Load, DType::kF16>(a, report);
    default:
      return by_weights<V, Load, DType::kBF16>(a, report);
  }
}

template <class V>
void mean(const MeanArgs& a, MeanReport* report) {
  bool same = true, wide = false;
  for (uint32_t i = 0; i < a.k; ++i) {
    same = same && a.dtypes[i] == a.dtypes[0];
    wide = wide || a.dtypes[i] == DType::kF64;
  }
  if (wide)
    return plain::mean(a, report);  // float64 sums are rarely exact: the reference's work anyway
  if (!same) return by_output<V, MixedTypes<V>>(a, report);
  switch (a.dtypes[0]) {
    case DType::kF32:
      return by_output<V, OneType<V, DType::kF32>>(a, report);
    case DType::kF16:
      return by_output<V, OneType<V, DType::kF16>>(a, report);
    case DType::kBF16:
      return by_output<V, OneType<V, DType::kBF16>>(a, report);
    default:
      return by_output<V, MixedTypes<V>>(a, report);
  }
}

}  // namespace stockpot::vector
