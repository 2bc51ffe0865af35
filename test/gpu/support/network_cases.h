#pragma once
// Small graphs with made-up weights and inputs: each operation, and networks of each kind.
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "../../../native/executor/graph.h"

namespace stockpot::test {

struct NetworkCase {
  std::string name;
  Graph graph;
  std::vector<std::vector<float>> weights;
  // One an input, of the largest batch; the other of the two is empty.
  std::vector<std::vector<float>> floats;
  std::vector<std::vector<int32_t>> integers;
  uint32_t batch = 3;
};

// Uniform in [-1, 1), the same everywhere.
class MadeUp {
 public:
  float next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<int32_t>(state_ >> 32)) * 0x1p-31f;
  }
  int32_t below(int32_t n) {
    return static_cast<int32_t>((static_cast<double>(next()) + 1) / 2 * n) % n;
  }

 private:
  uint64_t state_ = 1;
};

class Builder {
 public:
  explicit Builder(std::string name, uint32_t batch = 3) {
    c_.name = std::move(name);
    c_.batch = batch;
  }

  int32_t value(uint64_t rows, uint64_t columns) {
    c_.graph.values.push_back({rows, columns});
    return static_cast<int32_t>(c_.graph.values.size() - 1);
  }
  uint64_t rows(int32_t v) const { return c_.graph.values[v].rows; }
  uint64_t columns(int32_t v) const { return c_.graph.values[v].columns; }

  int32_t weight(std::vector<uint64_t> shape, float spread, float centre = 0) {
    c_.graph.weights.push_back({std::move(shape)});
    std::vector<float> w(c_.graph.weights.back().elements());
    for (float& v : w) v = centre + spread * made_up_.next();
    c_.weights.push_back(std::move(w));
    return static_cast<int32_t>(c_.weights.size() - 1);
  }
  int32_t matrix(uint64_t n, uint64_t k) {
    return weight({n, k}, 1.7f / std::sqrt(static_cast<float>(k)));
  }
  int32_t input(uint64_t elements, bool shared, const std::function<int32_t(uint64_t)>& id = {}) {
    const bool integers = static_cast<bool>(id);
    c_.graph.inputs.push_back({"input", integers, elements, shared});
    c_.floats.emplace_back();
    c_.integers.emplace_back();
    for (uint64_t i = 0; i < elements * (shared ? 1 : c_.batch); ++i) {
      if (integers) {
        c_.integers.back().push_back(id(i));
      } else {
        c_.floats.back().push_back(made_up_.next());
      }
    }
    return static_cast<int32_t>(c_.floats.size() - 1);
  }
  int32_t ids(uint64_t n, int32_t below, bool shared = false) {
    return input(n, shared, [&, below](uint64_t) { return made_up_.below(below); });
  }
  // The first of each example is seen.
  int32_t mask(uint64_t n, bool shared = false) {
    return input(n, shared, [&, n](uint64_t i) { return i % n == 0 || made_up_.below(3) > 0; });
  }

  GraphOp& op(OpKind kind, int32_t out) {
    GraphOp op{};
    op.kind = kind;
    op.out = out;
    c_.graph.ops.push_back(op);
    return c_.graph.ops.back();
  }
  int32_t unary(OpKind kind, int32_t x, std::vector<int64_t> numbers = {}) {
    const bool one =
        kind == OpKind::kSelectRow || kind == OpKind::kSelectRowById || kind == OpKind::kMeanRows;
    const int32_t out = value(one ? 1 : rows(x), columns(x));
    GraphOp& o = op(kind, out);
    o.x = x;
    o.numbers = std::move(numbers);
    return out;
  }
  int32_t embedding(int32_t ids, int32_t table) {
    const int32_t out = value(c_.graph.inputs[ids].elements, c_.graph.weights[table].shape[1]);
    GraphOp& o = op(OpKind::kEmbedding, out);
    o.input = ids;
    o.weight = table;
    o.numbers = {0};
    return out;
  }
  int32_t tokens(uint64_t n, uint64_t width) {
    return embedding(ids(n, 11), weight({11, width}, 1));
  }
  struct Linear {
    bool bias = true;
    Activation activation = Activation::kNone;
    bool scale = false;
    int32_t multiply = -1, residual = -1;
    bool transposed = false;
    int32_t weight = -1;
  };
  int32_t linear(int32_t x, uint64_t n, const Linear& l) {
    const uint64_t k = columns(x);
    const int32_t w = l.weight >= 0 ? l.weight : l.transposed ? matrix(k, n) : matrix(n, k);
    const int32_t bias = l.bias ? weight({n}, 0.5f) : -1;
    const int32_t scale = l.scale ? weight({n}, 0.5f, 1) : -1;
    const int32_t out = value(rows(x), n);
    GraphOp& o = op(OpKind::kLinear, out);
    o.x = x;
    o.weight = w;
    o.bias = bias;
    o.scale_weight = scale;
    o.activation = l.activation;
    o.y = l.multiply;
    o.z = l.residual;
    o.transposed = l.transposed;
    return out;
  }
  int32_t linear(int32_t x, uint64_t n) { return linear(x, n, Linear()); }
  int32_t norm(int32_t x, bool rms = false) {
    const int32_t w = weight({columns(x)}, 0.3f, 1), b = rms ? -1 : weight({columns(x)}, 0.3f);
    const int32_t out = unary(rms ? OpKind::kRmsNorm : OpKind::kLayerNorm, x);
    c_.graph.ops.back().weight = w;
    c_.graph.ops.back().bias = b;
    c_.graph.ops.back().number = 1e-5f;
    return out;
  }
  int32_t add(int32_t x, int32_t y) {
    const int32_t out = unary(OpKind::kAdd, x);
    c_.graph.ops.back().y = y;
    return out;
  }
  int32_t add_rows(int32_t x, uint64_t first, uint64_t more) {
    const int32_t w = weight({1, first + rows(x) + more, columns(x)}, 1);
    const int32_t out = unary(OpKind::kAddRows, x, {static_cast<int64_t>(first)});
    c_.graph.ops.back().weight = w;
    return out;
  }
  int32_t add_row(int32_t x, int64_t row) {
    const int32_t w = weight({static_cast<uint64_t>(row) + 2, columns(x)}, 1);
    const int32_t out = unary(OpKind::kAddRow, x, {row});
    c_.graph.ops.back().weight = w;
    return out;
  }
  int32_t prepend(int32_t x) {
    const int32_t w = weight({1, 1, columns(x)}, 1);
    const int32_t out = value(rows(x) + 1, columns(x));
    GraphOp& o = op(OpKind::kPrependRow, out);
    o.x = x;
    o.weight = w;
    return out;
  }
  int32_t patches(int64_t channels, int64_t size, int64_t patch) {
    const int32_t image = input(static_cast<uint64_t>(channels * size * size), false);
    const int64_t across = size / patch;
    const int32_t out = value(static_cast<uint64_t>(across * across),
                              static_cast<uint64_t>(channels * patch * patch));
    GraphOp& o = op(OpKind::kPatches, out);
    o.input = image;
    o.numbers = {channels, size, size, patch};
    return out;
  }
  struct Attend {
    int64_t heads = 2, width = 8, groups = 1;
    bool shared_kv = false, causal = false;
    int32_t mask = -1;
    bool buckets = false;
    int64_t q_column = 0, k_column = 0, v_column = 0;
  };
  int32_t attention(int32_t q, int32_t k, int32_t v, const Attend& a) {
    const int64_t lq = static_cast<int64_t>(rows(q)) / a.groups;
    const int64_t lk = static_cast<int64_t>(rows(k)) / (a.shared_kv ? 1 : a.groups);
    const int32_t table = a.buckets ? weight({5, static_cast<uint64_t>(a.heads)}, 1) : -1;
    const int32_t out = value(rows(q), static_cast<uint64_t>(a.heads * a.width));
    GraphOp& o = op(OpKind::kAttention, out);
    o.x = q;
    o.y = k;
    o.z = v;
    o.input = a.mask;
    o.weight = table;
    o.number = 1 / std::sqrt(static_cast<float>(a.width));
    o.numbers = {a.q_column, a.k_column, a.v_column,  a.heads,
                 a.width,    a.groups,   a.shared_kv, a.causal};
    for (int64_t i = 0; a.buckets && i < lq * lk; ++i) {
      o.buckets.push_back(static_cast<int32_t>((i / lk - i % lk + 100) % 5));
    }
    return out;
  }
  // Of queries, keys and values side by side.
  int32_t self_attention(int32_t x, Attend a) {
    const uint64_t width = static_cast<uint64_t>(a.heads * a.width);
    a.k_column = static_cast<int64_t>(width);
    a.v_column = static_cast<int64_t>(2 * width);
    const int32_t qkv = linear(x, 3 * width);
    return attention(qkv, qkv, qkv, a);
  }
  // A layer of a transformer, norms first.
  int32_t layer(int32_t x, const Attend& a, Activation activation, bool scale = false) {
    Linear out;
    out.residual = x;
    out.scale = scale;
    x = linear(self_attention(norm(x), a), columns(x), out);
    Linear up, down;
    up.activation = activation;
    down.residual = x;
    down.scale = scale;
    return linear(linear(norm(x), 2 * columns(x), up), columns(x), down);
  }

  NetworkCase done(int32_t output) {
    c_.graph.output = output;
    return std::move(c_);
  }
  // Most operations give more than one row.
  NetworkCase mean(int32_t x) { return done(unary(OpKind::kMeanRows, x, {0})); }

 private:
  NetworkCase c_;
  MadeUp made_up_;
};

std::vector<NetworkCase> operation_cases();
std::vector<NetworkCase> network_cases();

}  // namespace stockpot::test
