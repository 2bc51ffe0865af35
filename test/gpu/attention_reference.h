#pragma once
// Attention and its derivatives in float64, by plain loops, with what the errors are measured by:
// the same sums with everything positive.
#include <cmath>
#include <cstdint>
#include <vector>

namespace stockpot::test {

struct AttentionCase {
  uint32_t examples, groups, heads, width, queries, keys;
  bool shared_kv = false, causal = false;
  int mask = 0;  // 1: shared, 2: an example's
  uint32_t buckets = 0;
  double scale = 0.125;
};

struct AttentionData {
  // [rows, heads · width] each; mask [examples or 1, keys]; table [buckets, heads].
  std::vector<double> q, k, v, dout, table;
  std::vector<int32_t> mask, bucket;
};

// A value and the same sum of absolute values.
struct Measured {
  double value = 0, size = 0;
  void add(double v, double s) { value += v, size += s; }
};

struct AttentionResult {
  std::vector<Measured> out, dq, dk, dv, dtable;
  std::vector<double> log_sums;
};

inline AttentionResult reference(const AttentionCase& c, const AttentionData& d) {
  const size_t columns = size_t{c.heads} * c.width, kv_groups = c.shared_kv ? 1 : c.groups;
  AttentionResult r;
  r.out.resize(size_t{c.examples} * c.groups * c.queries * columns);
  r.dq.resize(r.out.size());
  r.dk.resize(c.examples * kv_groups * c.keys * columns);
  r.dv.resize(r.dk.size());
  r.dtable.resize(size_t{c.buckets} * c.heads);
  r.log_sums.resize(size_t{c.examples} * c.groups * c.heads * c.queries);
  std::vector<double> p(c.keys), dp(c.keys), dp_size(c.keys);
  for (size_t e = 0; e < c.examples; ++e) {
    for (size_t group = 0; group < c.groups; ++group) {
      for (size_t h = 0; h < c.heads; ++h) {
        for (size_t i = 0; i < c.queries; ++i) {
          const size_t row = ((e * c.groups + group) * c.queries + i) * columns + h * c.width;
          const size_t kv = (c.shared_kv ? e : e * c.groups + group) * c.keys;
          const auto at = [&](size_t j) { return (kv + j) * columns + h * c.width; };
          double most = -INFINITY, sum = 0;
          for (size_t j = 0; j < c.keys; ++j) {
            double s = 0;
            for (size_t w = 0; w < c.width; ++w) s += d.q[row + w] * d.k[at(j) + w];
            s *= c.scale;
            if (c.buckets) s += d.table[d.bucket[i * c.keys + j] * c.heads + h];
            if (c.mask && !d.mask[(c.mask == 2 ? e * c.keys : 0) + j]) s = -INFINITY;
            if (c.causal && j > i) s = -INFINITY;
            p[j] = s;
            most = std::fmax(most, s);
          }
          for (size_t j = 0; j < c.keys; ++j) {
            p[j] = most == -INFINITY ? 0 : std::exp(p[j] - most);
            sum += p[j];
          }
          r.log_sums[((e * c.groups + group) * c.heads + h) * c.queries + i] =
              most + std::log(sum == 0 ? 1 : sum);
          for (size_t j = 0; j < c.keys; ++j) p[j] /= sum == 0 ? 1 : sum;
          double delta = 0, delta_size = 0;
          for (size_t j = 0; j < c.keys; ++j) {
            dp[j] = dp_size[j] = 0;
            for (size_t w = 0; w < c.width; ++w) {
              const double v = d.v[at(j) + w], g = d.dout[row + w];
              r.out[row + w].add(p[j] * v, p[j] * std::fabs(v));
              r.dv[at(j) + w].add(p[j] * g, p[j] * std::fabs(g));
              dp[j] += g * v;
              dp_size[j] += std::fabs(g * v);
            }
            delta += p[j] * dp[j];
            delta_size += p[j] * dp_size[j];
          }
          for (size_t j = 0; j < c.keys; ++j) {
            const double ds = p[j] * (dp[j] - delta), size = p[j] * (dp_size[j] + delta_size);
            if (c.buckets) r.dtable[d.bucket[i * c.keys + j] * c.heads + h].add(ds, size);
            for (size_t w = 0; w < c.width; ++w) {
              const double q = d.q[row + w], k = d.k[at(j) + w];
              const double by = std::fabs(c.scale);
              r.dq[row + w].add(c.scale * ds * k, by * size * std::fabs(k));
              r.dk[at(j) + w].add(c.scale * ds * q, by * size * std::fabs(q));
            }
          }
        }
      }
    }
  }
  return r;
}

}  // namespace stockpot::test
