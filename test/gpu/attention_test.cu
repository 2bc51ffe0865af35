// Attention against attention_reference.h, for each Number, on what is stored. Bounds, with u the
// unit roundoff of the Number (float32 2⁻²⁴, bfloat16 2⁻⁸, float16 2⁻¹¹) and |·| the same sum of
// absolute values:
//   log_sums  3e-6 · (1 + |log_sum|)
//   out       float32 256 u |·|; else 2.1 u |·|: probabilities are rounded once, and out once
//   dv        the same
//   dq, dk, dtable   float32 128 u |·|; else 1.5 u |·|: out in delta, probabilities in it, dscores,
//                    the gradient
// and 1e-7, for float16 2⁻²⁴ a summand: what is below its normal numbers.
#include <cstring>
#include <string>

#include "../../native/kernels/cuda/network/attention.h"
#include "../../native/kernels/plain/convert.h"
#include "attention_reference.h"
#include "device_memory.h"

using namespace stockpot;
using namespace stockpot::cuda;
using test::AttentionCase;
using test::AttentionData;
using test::AttentionResult;
using test::DeviceArray;
using test::Measured;
using Bytes = std::vector<uint8_t>;

namespace {

double unit(Number n) {
  return n == Number::kF32 ? 0x1p-24 : n == Number::kBF16 ? 0x1p-8 : 0x1p-11;
}
DType type_of(Number n) {
  return n == Number::kF32 ? DType::kF32 : n == Number::kBF16 ? DType::kBF16 : DType::kF16;
}

uint32_t seed = 7;
double random_number() {  // about normal
  double sum = 0;
  for (int i = 0; i < 4; ++i) {
    seed = seed * 1664525u + 1013904223u;
    sum += seed * 0x1p-32 - 0.5;
  }
  return sum * 1.7;
}

// Numbers as they are stored: rows `ld` apart, the first `skip` from the start.
struct Layout {
  size_t columns, ld, skip;
};
Bytes store(Number n, const std::vector<double>& from, const Layout& l) {
  const size_t size = byte_size(n), rows = from.size() / l.columns;
  Bytes to((l.skip + rows * l.ld) * size, 0xA5);
  for (size_t i = 0; i < from.size(); ++i) {
    bool overflow = false;
    const uint64_t bits = plain::round_to(type_of(n), from[i], &overflow);
    std::memcpy(to.data() + (l.skip + i / l.columns * l.ld + i % l.columns) * size, &bits, size);
  }
  return to;
}
std::vector<double> load(Number n, const Bytes& from, const Layout& l, size_t count) {
  std::vector<double> to(count);
  for (size_t i = 0; i < count; ++i) {
    to[i] = plain::load(
        type_of(n), from.data() + (l.skip + i / l.columns * l.ld + i % l.columns) * byte_size(n));
  }
  return to;
}

struct Run {
  Bytes out, dq, dk, dv;
  std::vector<float> log_sums, dtable;
  // Bits: no zero has another sign, and a NaN is itself.
  bool operator==(const Run& o) const {
    const auto same = [](const std::vector<float>& x, const std::vector<float>& y) {
      return x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
    };
    return out == o.out && dq == o.dq && dk == o.dk && dv == o.dv && same(log_sums, o.log_sums) &&
           same(dtable, o.dtable);
  }
};

struct Options {
  size_t gap = 0, skip = 0;  // of q, k, v and their gradients
  bool add = false;          // gradients are added to what is there: the operands themselves
  bool alone = false;        // each gradient is asked for alone too
};

Run run(Number number, const AttentionCase& c, const AttentionData& d, const Options& o) {
  const size_t columns = size_t{c.heads} * c.width;
  const Layout operand{columns, columns + o.gap, o.skip}, plain{columns, columns, 0};
  const DeviceArray<uint8_t> q(store(number, d.q, operand)), k(store(number, d.k, operand)),
      v(store(number, d.v, operand)), dout(store(number, d.dout, plain));
  const DeviceArray<int32_t> mask(d.mask), bucket(d.bucket);
  const std::vector<float> table_values(d.table.begin(), d.table.end());
  const DeviceArray<float> table(table_values);
  const size_t skipped = o.skip * byte_size(number);
  Attention a{};
  a.number = number;
  a.examples = c.examples, a.groups = c.groups, a.heads = c.heads, a.width = c.width;
  a.queries = c.queries, a.keys = c.keys;
  a.shared_kv = c.shared_kv, a.causal = c.causal;
  a.scale = static_cast<float>(c.scale);
  a.q = q.data() + skipped, a.k = k.data() + skipped, a.v = v.data() + skipped;
  a.q_ld = a.k_ld = a.v_ld = operand.ld;
  if (c.mask) a.mask = mask.data(), a.mask_shared = c.mask == 1;
  if (c.buckets) a.table = table.data(), a.bucket = bucket.data(), a.buckets = c.buckets;
  const DeviceArray<uint8_t> out(d.dout.size() * byte_size(number));
  const DeviceArray<float> log_sums(size_t{c.examples} * c.groups * c.heads * c.queries);
  CHECK(attention(a, out.data(), log_sums.data(), nullptr) == cudaSuccess);
  // Without log_sums the same.
  const DeviceArray<uint8_t> again(d.dout.size() * byte_size(number));
  CHECK(attention(a, again.data(), nullptr, nullptr) == cudaSuccess);
  CHECK(again.get() == out.get());
  // Gradients lie as their operands do, between what must stay as it is.
  const auto fresh = [&](const std::vector<double>& like) {
    return store(number, o.add ? like : std::vector<double>(like.size(), NAN), operand);
  };
  const DeviceArray<uint8_t> dq(fresh(d.q)), dk(fresh(d.k)), dv(fresh(d.v));
  const DeviceArray<float> dtable(std::vector<float>(d.table.size(), 1.0f));
  const DeviceArray<float> scratch(attention_scratch(a));
  AttentionGradient g{};
  g.out = out.data(), g.log_sums = log_sums.data(), g.dout = dout.data();
  g.dq = dq.data() + skipped, g.dk = dk.data() + skipped, g.dv = dv.data() + skipped;
  g.add_q = g.add_k = g.add_v = o.add;
  g.scratch = scratch.data();
  if (c.buckets) g.dtable = dtable.data();
  CHECK(attention_gradient(a, g, nullptr) == cudaSuccess);
  Run r;
  r.out = out.get(), r.dq = dq.get(), r.dk = dk.get(), r.dv = dv.get();
  r.log_sums = log_sums.get(), r.dtable = dtable.get();
  // Each gradient alone is the same, and the others stay away.
  if (o.alone) {
    AttentionGradient only = g;
    only.dk = only.dv = nullptr, only.dtable = nullptr;
    CHECK(attention_gradient(a, only, nullptr) == cudaSuccess);
    only.dq = nullptr, only.dv = g.dv;
    CHECK(attention_gradient(a, only, nullptr) == cudaSuccess);
    only.dv = nullptr, only.dk = g.dk;
    CHECK(attention_gradient(a, only, nullptr) == cudaSuccess);
    CHECK(dq.get() == r.dq && dk.get() == r.dk && dv.get() == r.dv);
  }
  return r;
}

double worst[3][3] = {};  // of the bound, by Number and kind

void within(Number n, int kind, double factor, size_t summands, const std::vector<double>& got,
            const std::vector<Measured>& expected, const std::vector<double>* added) {
  const double slack = n == Number::kF16 ? 0x1p-24 * summands : 1e-7;
  CHECK(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double there = added ? (*added)[i] : 0;
    const double bound = factor * unit(n) * (expected[i].size + std::fabs(there)) + slack;
    const double error = std::fabs(got[i] - (expected[i].value + there)) / bound;
    if (!(error <= 1)) {
      std::fprintf(stderr, "number %d kind %d element %zu: %g, expected %g\n", int(n), kind, i,
                   got[i], expected[i].value + there);
    }
    CHECK(error <= 1);
    worst[int(n)][kind] = std::fmax(worst[int(n)][kind], error);
  }
}

// What lies between the rows is as `store` left it.
void untouched(Number n, const Bytes& b, const Layout& l, size_t count) {
  const size_t size = byte_size(n);
  for (size_t i = 0; i < b.size(); ++i) {
    const size_t at = i / size;
    const bool ours =
        at >= l.skip && (at - l.skip) % l.ld < l.columns && at < l.skip + count / l.columns * l.ld;
    CHECK(ours || b[i] == 0xA5);
  }
}

AttentionData draw(Number n, const AttentionCase& c) {
  AttentionData d;
  const size_t columns = size_t{c.heads} * c.width;
  const size_t rows = size_t{c.examples} * c.groups * c.queries;
  const size_t kv_rows = size_t{c.examples} * (c.shared_kv ? 1 : c.groups) * c.keys;
  const auto fill = [&](std::vector<double>& to, size_t count) {
    for (size_t i = 0; i < count; ++i) to.push_back(random_number());
    const Layout l{columns, columns, 0};
    to = load(n, store(n, to, l), l, count);
  };
  fill(d.q, rows * columns);
  fill(d.k, kv_rows * columns);
  fill(d.v, kv_rows * columns);
  fill(d.dout, rows * columns);
  for (size_t i = 0; i < size_t{c.buckets} * c.heads; ++i) {
    d.table.push_back(static_cast<float>(random_number()));
  }
  for (size_t i = 0; c.buckets && i < size_t{c.queries} * c.keys; ++i) {
    seed = seed * 1664525u + 1013904223u;
    d.bucket.push_back(static_cast<int32_t>((seed >> 8) % c.buckets));
  }
  for (size_t i = 0; c.mask && i < (c.mask == 2 ? c.examples : 1) * c.keys; ++i) {
    seed = seed * 1664525u + 1013904223u;
    // All of the last example's keys are hidden, and the first of the others'.
    const bool last = c.mask == 2 && i / c.keys == c.examples - 1;
    d.mask.push_back(!last && i % c.keys != 0 && (seed >> 20) % 4 != 0);
  }
  return d;
}

// One example of them all.
AttentionCase single(AttentionCase c) {
  c.examples = 1;
  return c;
}
AttentionData single(const AttentionCase& c, const AttentionData& d, size_t e) {
  const auto part = [&](const auto& from) {
    const size_t size = from.size() / c.examples;
    return std::decay_t<decltype(from)>(from.begin() + e * size, from.begin() + (e + 1) * size);
  };
  AttentionData one = d;
  one.q = part(d.q), one.k = part(d.k), one.v = part(d.v), one.dout = part(d.dout);
  if (c.mask == 2) one.mask = part(d.mask);
  return one;
}

void check(Number n, const AttentionCase& c, const Options& o = {}) {
  const AttentionData d = draw(n, c);
  const AttentionResult expected = test::reference(c, d);
  const Run r = run(n, c, d, o);
  const size_t columns = size_t{c.heads} * c.width;
  const Layout plain{columns, columns, 0};
  const bool f32 = n == Number::kF32;
  within(n, 0, f32 ? 256 : 2.1, c.keys, load(n, r.out, plain, expected.out.size()), expected.out,
         nullptr);
  for (size_t i = 0; i < r.log_sums.size(); ++i) {
    const double l = expected.log_sums[i];
    CHECK(l == -INFINITY ? r.log_sums[i] == l
                         : std::fabs(r.log_sums[i] - l) <= 3e-6 * (1 + std::fabs(l)));
  }
  const Layout operand{columns, columns + o.gap, o.skip};
  const std::vector<double>* none = nullptr;
  const size_t of_key = size_t{c.queries} * (c.shared_kv ? c.groups : 1);
  within(n, 1, f32 ? 256 : 2.1, of_key, load(n, r.dv, operand, d.v.size()), expected.dv,
         o.add ? &d.v : none);
  within(n, 2, f32 ? 128 : 1.5, c.keys, load(n, r.dq, operand, d.q.size()), expected.dq,
         o.add ? &d.q : none);
  within(n, 2, f32 ? 128 : 1.5, of_key, load(n, r.dk, operand, d.k.size()), expected.dk,
         o.add ? &d.k : none);
  const std::vector<double> ones(expected.dtable.size(), 1.0);
  within(n, 2, f32 ? 128 : 1.5, of_key * c.keys, {r.dtable.begin(), r.dtable.end()},
         expected.dtable, &ones);
  untouched(n, r.dq, operand, d.q.size());
  untouched(n, r.dk, operand, d.k.size());
  untouched(n, r.dv, operand, d.v.size());
#if defined(STOCKPOT_EMULATED)
  setenv("EMULATOR_ORDER", "reverse", 1);
  CHECK(run(n, c, d, o) == r);
  unsetenv("EMULATOR_ORDER");
#endif
  // The same bits for an example alone.
  for (size_t e = 0; c.examples > 1 && e < c.examples; ++e) {
    const Run one = run(n, single(c), single(c, d, e), o);
    const size_t size = one.out.size(), sums = one.log_sums.size();
    CHECK(std::memcmp(one.out.data(), r.out.data() + e * size, size) == 0);
    if (o.gap == 0 && o.skip == 0) {
      const auto same = [&](const Bytes& of_one, const Bytes& all) {
        return std::memcmp(of_one.data(), all.data() + e * of_one.size(), of_one.size()) == 0;
      };
      CHECK(same(one.dq, r.dq) && same(one.dk, r.dk) && same(one.dv, r.dv));
    }
    CHECK(std::memcmp(one.log_sums.data(), r.log_sums.data() + e * sums, sums * 4) == 0);
  }
}

// The reference's derivatives against differences of its values: what the kernels are compared with
// is right.
void check_reference(const AttentionCase& c) {
  AttentionData d = draw(Number::kF32, c);
  const AttentionResult r = test::reference(c, d);
  const auto loss = [&] {
    double sum = 0;
    const AttentionResult at = test::reference(c, d);
    for (size_t i = 0; i < at.out.size(); ++i) sum += at.out[i].value * d.dout[i];
    return sum;
  };
  const auto compare = [&](std::vector<double>& x, const std::vector<Measured>& gradient) {
    for (size_t i = 0; i < x.size(); i += 5) {
      const double there = x[i], step = 1e-5;
      x[i] = there + step;
      const double above = loss();
      x[i] = there - step;
      const double difference = (above - loss()) / (2 * step);
      x[i] = there;
      CHECK(std::fabs(difference - gradient[i].value) <= 1e-7 * (1 + gradient[i].size));
    }
  };
  compare(d.q, r.dq);
  compare(d.k, r.dk);
  compare(d.v, r.dv);
  compare(d.table, r.dtable);
}

// A query that is no number makes its own row of its own head none, and touches no other.
void check_nan(Number n) {
  const AttentionCase c{1, 1, 2, 64, 70, 70};
  AttentionData d = draw(n, c);
  const size_t columns = size_t{c.heads} * c.width, at = 20 * columns + 64 + 3;
  const Layout plain{columns, columns, 0};
  const std::vector<double> before = load(n, run(n, c, d, {}).out, plain, d.q.size());
  d.q[at] = NAN;
  const std::vector<double> after = load(n, run(n, c, d, {}).out, plain, d.q.size());
  for (size_t i = 0; i < after.size(); ++i) {
    CHECK(i / 64 == at / 64 ? std::isnan(after[i]) : after[i] == before[i]);
  }
}

}  // namespace

int main() {
#if defined(STOCKPOT_EMULATED)
  // The least that a device has (sm_86, sm_120); the emulated one refuses more, as a device does.
  setenv("EMULATOR_SHARED", "1024", 1);
  const float some[32] = {};
  Attention small{Number::kF32, 1, 1, 1, 32, 1, 1, false, false, 1, some, some, some, 32, 32, 32};
  float there[32];
  CHECK(attention(small, there, nullptr, nullptr) == cudaErrorInvalidValue);
  setenv("EMULATOR_SHARED", "101376", 1);
#endif
  check_reference({2, 1, 2, 8, 6, 7});
  check_reference({2, 2, 2, 8, 5, 7, true, false, 2, 4});
  check_reference({1, 2, 1, 8, 7, 7, false, true, 1, 3, 0.5});
  for (const Number n : {Number::kF32, Number::kBF16, Number::kF16}) {
    // Every kernel, and widths that fill none.
    for (const uint32_t width : {8u, 32u, 40u, 64u, 80u, 88u, 104u, 128u, 160u, 192u, 200u, 256u}) {
      check(n, {1, 1, 1, width, 19, 35}, {0, 0, false, width == 256});
      if (width <= 128) check(n, {1, 1, 1, width, 66, 40});
    }
    check_nan(n);
    // Lengths around the tiles'.
    for (const uint32_t length : {1u, 7u, 49u, 50u, 64u, 65u, 129u, 197u}) {
      check(n, {1, 1, 1, 64, length, length});
    }
    check(n, {3, 1, 2, 64, 50, 50});
    check(n, {2, 1, 2, 64, 77, 77, false, true});
    check(n, {2, 1, 1, 80, 140, 140, false, true});
    check(n, {1, 1, 1, 32, 90, 20, false, true});
    check(n, {1, 1, 1, 32, 20, 90, false, true});
    check(n, {3, 1, 2, 64, 33, 33, false, false, 2});
    check(n, {2, 1, 1, 64, 66, 70, false, false, 1});
    check(n, {2, 1, 2, 64, 40, 40, false, false, 2, 32, 1.0});
    check(n, {2, 1, 2, 64, 70, 70, false, true, 1, 9, 1.0});
    check(n, {2, 1, 2, 64, 30, 40, false, false, 0, 700, 0.1});
    check(n, {2, 1, 2, 256, 20, 35, false, false, 0, 32, 0.1});
    check(n, {1, 1, 1, 200, 20, 35, false, false, 1, 512, 0.1});
    check(n, {1, 1, 1, 192, 66, 20, false, true, 0, 512, 0.1});
    check(n, {2, 3, 2, 24, 17, 21});
    check(n, {2, 3, 2, 24, 17, 21, true});
    check(n, {2, 2, 2, 64, 17, 90, true, false, 2, 5});
    check(n, {1, 1, 1, 64, 20, 20, false, false, 0, 0, -0.2});
    // Rows that lie between others', and such as are not aligned.
    check(n, {2, 1, 2, 64, 50, 50}, {128, 0, false, true});
    check(n, {2, 1, 2, 40, 20, 20}, {8, 8, false, true});
    check(n, {2, 1, 2, 64, 20, 20}, {3, 1, false});
    check(n, {2, 1, 1, 13, 20, 20}, {2, 1, false});
    check(n, {2, 1, 2, 40, 20, 20}, {8, 8, true});
    check(n, {2, 3, 1, 64, 33, 65, true}, {0, 0, true});
  }
  for (int n = 0; n < 3; ++n) {
    std::printf("%s: at most %.2f, %.2f, %.2f of the bounds of out, dv, and dq and dk\n",
                n == 0   ? "float32"
                : n == 1 ? "bfloat16"
                         : "float16",
                worst[n][0], worst[n][1], worst[n][2]);
  }
}
