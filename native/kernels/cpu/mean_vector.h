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
#include "../exact_span.h"

namespace stockpot::vector {

constexpr int32_t kInfinityBits = 0x7F800000;

template <class V, DType T>
struct OneType {
  static constexpr DType kType = T;
  static constexpr bool kHalf = T == DType::kF16 || T == DType::kBF16;
  static typename V::F load(const MeanArgs& a, uint32_t i, size_t e) {
    return V::template load<T>(a.inputs[i] + e * byte_size(T));
  }
};

template <class V>
struct MixedTypes {
  static constexpr bool kHalf = false;
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

// Hands elements [e, e + n) to the reference. Static: of inline functions the linker keeps one copy
// for all instruction sets (scripts/check_prebuild.mjs looks).
static void reference(const MeanArgs& a, size_t e, size_t n, MeanReport* report) {
  constexpr uint32_t kFew = 128;
  const uint8_t* few[kFew];
  const uint8_t** inputs = a.k <= kFew ? few : new const uint8_t*[a.k];
  for (uint32_t i = 0; i < a.k; ++i) inputs[i] = a.inputs[i] + e * byte_size(a.dtypes[i]);
  MeanArgs part = a;
  part.inputs = inputs;
  part.n = n;
  part.out = a.out + e * byte_size(a.out_dtype);
  plain::mean(part, report);
  if (inputs != few) delete[] inputs;
}

// What does not change from group to group.
template <class V, DType Out>
struct Constants {
  explicit Constants(const MeanArgs& a)
      : divisor(V::set(static_cast<double>(a.k))),
        reciprocal(V::set(1.0 / a.k)),
        threshold(V::set(overflow_threshold(Out))),
        span(exact_span(a.dtypes, a.k)),
        power_of_two((a.k & (a.k - 1)) == 0) {}

  // By a power of two, multiplying gives the very same bits and does not wait for the slow divider.
  typename V::D divide(typename V::D x) const {
    return power_of_two ? V::mul(x, reciprocal) : V::div(x, divisor);
  }

  typename V::D divisor, reciprocal, threshold;
  int32_t span;
  bool power_of_two;
};

template <class V, DType Out>
bool store_if_it_fits(const MeanArgs& a, size_t e, typename V::D lo, typename V::D hi,
                      typename V::D threshold) {
  if (V::any_not_below(lo, hi, threshold)) return false;
  V::template store<Out>(a.out + e * byte_size(Out), lo, hi);
  return true;
}

// One group of lanes, all sums in float64.
template <class V, class Load, DType Out, bool kEqual>
void group(const MeanArgs& a, const Constants<V, Out>& c, size_t e, MeanReport* report) {
  using D = typename V::D;
  using U = typename V::U;
  typename V::F v = Load::load(a, 0, e);
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
      // 0 becomes the largest number: zeros do not narrow the span.
      least = V::min(least, V::minus_one(m));
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
    lo = c.divide(lo);
    hi = c.divide(hi);
    doubtful = doubtful || V::any_above(V::sub(largest, least), c.span);
  }
  if (doubtful || !store_if_it_fits<V, Out>(a, e, lo, hi, c.threshold)) {
    reference(a, e, V::kLanes, report);
  }
}

template <class V, class Load, DType Out, bool kEqual>
void groups(const MeanArgs& a, MeanReport* report) {
  const Constants<V, Out> c(a);
  size_t e = 0;
  for (; e + V::kLanes <= a.n; e += V::kLanes) group<V, Load, Out, kEqual>(a, c, e, report);
  if (e < a.n) reference(a, e, a.n - e, report);
}

// Equal weights of 16-bit types, two groups of lanes at a time. Four such values sum exactly in
// float32 if their exponents lie close: bf16 within 14 steps (8 + 14 + 2 bits are 24), f16 below
// 1/4 in magnitude (all are multiples of 2^-24). So float64 is needed only once for four inputs,
// and the exponents are watched on 16-bit lanes. The few pairs of groups that do not pass go the
// longer way.
template <class V, DType T, DType Out>
void half_groups(const MeanArgs& a, MeanReport* report) {
  using F = typename V::F;
  using D = typename V::D;
  using W = typename V::W;
  constexpr uint16_t kLargest = T == DType::kBF16 ? 0x7F7F : 0x33FF;
  constexpr uint16_t kSpan = 14 << 7;
  constexpr size_t kBytes = V::kLanes * 2;
  const Constants<V, Out> c(a);
  size_t e = 0;
  for (; e + 2 * V::kLanes <= a.n; e += 2 * V::kLanes) {
    W largest = V::zero_words(), least = V::minus_one_words(largest);
    D sums[4] = {V::set(-0.0), V::set(-0.0), V::set(-0.0),
                 V::set(-0.0)};  // x + -0 is x, also for -0
    for (uint32_t i = 0; i < a.k;) {
      const uint32_t end = i + 4 < a.k ? i + 4 : a.k;
      const uint8_t* p = a.inputs[i] + e * 2;
      F first = V::template load<T>(p), second = V::template load<T>(p + kBytes);
      for (;;) {
        const W m = V::magnitude_words(V::load_words(p));
        largest = V::max_words(largest, m);
        if (T == DType::kBF16) least = V::min_words(least, V::minus_one_words(m));
        if (++i == end) break;
        p = a.inputs[i] + e * 2;
        first = V::add(first, V::template load<T>(p));
        second = V::add(second, V::template load<T>(p + kBytes));
      }
      sums[0] = V::add(sums[0], V::low(first));
      sums[1] = V::add(sums[1], V::high(first));
      sums[2] = V::add(sums[2], V::low(second));
      sums[3] = V::add(sums[3], V::high(second));
    }
    bool doubtful = V::any_word_above(largest, kLargest);
    if (T == DType::kBF16) {
      doubtful = doubtful || V::any_word_above(V::sub_words(largest, least), kSpan);
    }
    for (int half = 0; half < 2; ++half) {
      const size_t at = e + half * V::kLanes;
      if (doubtful || !store_if_it_fits<V, Out>(a, at, c.divide(sums[2 * half]),
                                                c.divide(sums[2 * half + 1]), c.threshold)) {
        group<V, OneType<V, T>, Out, true>(a, c, at, report);
      }
    }
  }
  for (; e + V::kLanes <= a.n; e += V::kLanes) group<V, OneType<V, T>, Out, true>(a, c, e, report);
  if (e < a.n) reference(a, e, a.n - e, report);
}

template <class V, class Load, DType Out>
void by_weights(const MeanArgs& a, MeanReport* report) {
  if (a.weights) {
    groups<V, Load, Out, false>(a, report);
  } else if constexpr (Load::kHalf) {
    half_groups<V, Load::kType, Out>(a, report);
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
