// The backward pass: the operations in reverse, each adding to the gradients of its weights and of
// the values it read. What is added over rows is added in their order, or example by example, whose
// sums are added in order, so that no bit depends on the threads, nor on how examples are put into
// batches.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "executor.h"
#include "sizes.h"

namespace stockpot {
namespace {

constexpr size_t kRowsAtOnce = 64;   // of what is done row by row
constexpr size_t kColumnBlock = 64;  // columns of a table's gradient that one task adds to

}  // namespace

struct Executor::Backward {
  Executor& e;
  const std::vector<InputData>& inputs;
  uint32_t batch;

  void op(size_t index);
  void linear(size_t index);
  void norm(size_t index);
  void attention(size_t index);
  void embedding(const GraphOp& op);
  void log_likelihood(size_t index);
  void similarity(size_t index);
  void scale(size_t index);
  void one_row(size_t index);

  const GraphValue& shape(int32_t v) const { return e.graph_.values[v]; }
  float* weight_gradient(int32_t w) { return e.gradients_[w].data(); }
  bool adds(size_t index, uint8_t operand) const { return e.plan_.adds[index] & operand; }
  // The gradient of an operand, which `copy` gives or this operation adds to.
  void pass_on(const float* dy, uint64_t n, float* to, bool add) {
    e.pool_.each(divide_up(n, 1 << 14), [&](size_t block, uint32_t) {
      const uint64_t from = block << 14, count = std::min<uint64_t>(n - from, 1 << 14);
      if (add) {
        e.ops_->add(dy + from, count, to + from);
      } else {
        std::memcpy(to + from, dy + from, count * sizeof(float));
      }
    });
  }
  void clear(float* to, uint64_t n) {
    e.pool_.each(divide_up(n, 1 << 14), [&](size_t block, uint32_t) {
      const uint64_t from = block << 14;
      std::memset(to + from, 0, std::min<uint64_t>(n - from, 1 << 14) * sizeof(float));
    });
  }

  // body(first, count, sums) adds rows [first, first + count), those of one example, to `columns`
  // sums of each of `to`; the sums of all examples are added in order. So it makes no difference
  // how many examples a batch has.
  template <class Body>
  void sum_over_rows(uint64_t rows_each, size_t columns, const Body& body,
                     std::initializer_list<float*> to) {
    const size_t all = columns * to.size();
    float* partial = e.partial_.data();
    e.pool_.each(batch, [&](size_t example, uint32_t) {
      float* sums = partial + example * all;
      std::memset(sums, 0, all * sizeof(float));
      body(example * rows_each, rows_each, sums);
    });
    size_t part = 0;
    for (float* gradient : to) {
      e.ops_->add_rows(partial + part, batch, all, columns, gradient);
      part += columns;
    }
  }

  // C [m, n] += aᵀ·b over `rows` rows of a and b, in order.
  void add_product(const float* a, size_t m, const float* b, size_t n, uint64_t rows, float* c);
};

void Executor::zero_gradients() {
  for (auto* all : {&gradients_, &input_gradients_}) {
    for (Pages<float>& g : *all) std::fill(g.begin(), g.end(), 0.0f);
  }
}

std::string Executor::backward(const std::vector<InputData>& inputs, uint32_t batch,
                               const float* dout, const std::function<bool()>& stop) {
  if (!training_ || ran_ != batch) return "a backward pass must follow a forward pass of its batch";
  ran_ = 0;  // activations are overwritten on the way
  Backward pass{*this, inputs, batch};
  std::memcpy(gradient_of(graph_.output), dout,
              graph_.values[graph_.output].size() * batch * sizeof(float));
  offsets_ = &plan_.backward;
  for (size_t s = plan_.segments(); s-- > 0;) {
    const size_t begin = plan_.begins[s], end = plan_.begins[s + 1];
    if (!plan_.last_segment(begin)) {
      for (size_t i = begin; i < end; ++i) {
        // What crosses the border was kept; a linear's room before its activation was not.
        if (stop()) return "";
        if (!plan_.crosses[graph_.ops[i].out] || plan_.before[i] != kNowhere)
          run_op(i, inputs, batch, true);
      }
    }
    for (size_t i = end; i-- > begin;) {
      if (stop()) return "";
      if (has_gradient(graph_.ops[i].out)) pass.op(i);
    }
  }
  return "";
}

void Executor::Backward::op(size_t index) {
  const GraphOp& op = e.graph_.ops[index];
  const GraphValue& out = shape(op.out);
  const uint64_t columns = out.columns, all = out.rows * batch;
  const float* dy = e.gradient_of(op.out);
  switch (op.kind) {
    case OpKind::kPatches:
      break;
    case OpKind::kEmbedding:
      embedding(op);
      break;
    case OpKind::kAddRows: {
      float* table = weight_gradient(op.weight) + op.numbers[0] * columns;
      e.pool_.each(out.rows, [&](size_t r, uint32_t) {
        e.ops_->add_rows(dy + r * columns, batch, out.rows * columns, columns, table + r * columns);
      });
      if (e.has_gradient(op.x) && !e.plan_.moves[index])
        pass_on(dy, all * columns, e.gradient_of(op.x), adds(index, 1));
      break;
    }
    case OpKind::kAddRow:
      sum_over_rows(shape(op.out).rows, columns,
                    [&](uint64_t first, uint64_t count, float* sums) {
                      e.ops_->add_rows(dy + first * columns, count, columns, columns, sums);
                    },
                    {weight_gradient(op.weight) + op.numbers[0] * columns});
      if (e.has_gradient(op.x) && !e.plan_.moves[index])
        pass_on(dy, all * columns, e.gradient_of(op.x), adds(index, 1));
      break;
    case OpKind::kAdd:
      if (e.has_gradient(op.y)) pass_on(dy, all * columns, e.gradient_of(op.y), adds(index, 2));
      if (e.has_gradient(op.x) && !e.plan_.moves[index])
        pass_on(dy, all * columns, e.gradient_of(op.x), adds(index, 1));
      break;
    case OpKind::kPrependRow: {
      e.ops_->add_rows(dy, batch, out.rows * columns, columns, weight_gradient(op.weight));
      if (!e.has_gradient(op.x)) break;
      const uint64_t n = (out.rows - 1) * columns;
      float* dx = e.gradient_of(op.x);
      e.pool_.each(batch, [&](size_t example, uint32_t) {
        const float* from = dy + (example * out.rows + 1) * columns;
        if (adds(index, 1)) {
          e.ops_->add(from, n, dx + example * n);
        } else {
          std::memcpy(dx + example * n, from, n * sizeof(float));
        }
      });
      break;
    }
    case OpKind::kLinear:
      linear(index);
      break;
    case OpKind::kLayerNorm:
    case OpKind::kRmsNorm:
    case OpKind::kL2Normalize:
      norm(index);
      break;
    case OpKind::kAttention:
      attention(index);
      break;
    case OpKind::kSelectRow:
    case OpKind::kSelectRowById:
    case OpKind::kMeanRows:
      one_row(index);
      break;
    case OpKind::kScale:
      scale(index);
      break;
    case OpKind::kSimilarity:
      similarity(index);
      break;
    case OpKind::kLogLikelihood:
      log_likelihood(index);
      break;
  }
}

// With z = x·Wᵀ + b and y = activation(z) · scale · multiply + residual.
void Executor::Backward::linear(size_t index) {
  const GraphOp& op = e.graph_.ops[index];
  const uint64_t n = shape(op.out).columns, depth = shape(op.x).columns,
                 all = shape(op.out).rows * batch;
  float* dy = e.gradient_of(op.out);
  if (e.has_gradient(op.z) && !e.plan_.moves[index])
    pass_on(dy, all * n, e.gradient_of(op.z), adds(index, 4));
  const float* dz = dy;
  bool summed = false;  // over the rows of dz, for the bias
  if (e.plan_.before[index] != kNowhere) {
    const float* before = e.arena_.data() + e.plan_.before[index] * e.batch_;
    const float* scale = op.scale_weight >= 0 ? e.weight(op.scale_weight) : nullptr;
    const float* multiply = op.y >= 0 ? e.value(op.y) : nullptr;
    float* dmultiply = e.has_gradient(op.y) ? e.gradient_of(op.y) : nullptr;
    float* to = e.plan_.temporary[index] == kNowhere
                    ? dy
                    : e.arena_.data() + e.plan_.temporary[index] * e.batch_;
    dz = to;
    const auto block = [&](uint64_t first, uint64_t count, float* dscale) {
      for (uint64_t r = first; r < first + count; ++r) {
        const float* g = dy + r * n;
        float* d = to + r * n;
        if (scale || multiply) {
          // Room for the activation's value: d, until it is needed itself. dy may be d.
          for (uint64_t from = 0; from < n; from += kColumnBlock) {
            float active[kColumnBlock], grown[kColumnBlock];
            const uint64_t c = std::min<uint64_t>(kColumnBlock, n - from);
            const float* z = before + r * n + from;
            e.ops_->activate(op.activation, z, c, active);
            for (uint64_t j = 0; j < c; ++j) {
              const float by = (scale ? scale[from + j] : 1.0f);
              const float times = multiply ? multiply[r * n + from + j] : 1.0f;
              const float gj = g[from + j];
              if (dscale) dscale[from + j] += gj * active[j] * times;
              if (dmultiply) {
                float& m = dmultiply[r * n + from + j];
                m = gj * active[j] * by + (adds(index, 2) ? m : 0.0f);
              }
              grown[j] = gj * by * times;
            }
            e.ops_->activation_gradient(op.activation, z, grown, c, d + from);
          }
        } else {
          e.ops_->activation_gradient(op.activation, before + r * n, g, n, d);
        }
      }
    };
    if (scale) {
      sum_over_rows(shape(op.out).rows, n, block, {weight_gradient(op.scale_weight)});
    } else if (op.bias >= 0) {
      // With the bias's sums, while an example's rows are in the cache.
      summed = true;
      sum_over_rows(shape(op.out).rows, n,
                    [&](uint64_t first, uint64_t count, float* sums) {
                      block(first, count, nullptr);
                      e.ops_->add_rows(dz + first * n, count, n, n, sums);
                    },
                    {weight_gradient(op.bias)});
    } else {
      e.pool_.each(divide_up(all, kRowsAtOnce), [&](size_t b, uint32_t) {
        block(b * kRowsAtOnce, std::min<uint64_t>(kRowsAtOnce, all - b * kRowsAtOnce), nullptr);
      });
    }
  }
  if (op.bias >= 0 && !summed) {
    sum_over_rows(shape(op.out).rows, n,
                  [&](uint64_t first, uint64_t count, float* sums) {
                    e.ops_->add_rows(dz + first * n, count, n, n, sums);
                  },
                  {weight_gradient(op.bias)});
  }
  if (e.has_gradient(op.x)) {
    // The weight as it is packed for x·Wᵀ, packed for dz·W.
    const size_t panel = e.ops_->panel, panels = divide_up(depth, panel);
    float* packed = e.packed_b_.data();
    e.pool_.each(panels, [&](size_t p, uint32_t) {
      repack(e.weight(op.weight), n, depth, panel, p, p + 1, packed);
    });
    Gemm g{dz, n, packed, all, depth, n, e.gradient_of(op.x), depth, {}};
    g.accumulate = adds(index, 1);
    e.multiply(g);
  }
  float* dw = weight_gradient(op.weight);
  if (op.transposed) {
    add_product(e.value(op.x), depth, dz, n, all, dw);
  } else {
    add_product(dz, n, e.value(op.x), depth, all, dw);
  }
}

void Executor::Backward::add_product(const float* a, size_t m, const float* b, size_t n,
                                     uint64_t rows, float* c) {
  const size_t panel = e.ops_->panel, panels = divide_up(n, panel);
  const size_t tile = e.ops_->row_tile, tiles = divide_up(m, tile);
  // Enough tasks for all threads, each with so many rows that a panel is read for several.
  const size_t at_once = std::clamp<size_t>(tiles / (4 * e.pool_.threads()), 1, 8);
  float *packed_a = e.packed_a_.data(), *packed_b = e.packed_b_.data();
  const size_t most = depth_at_once(m, n, rows);
  for (uint64_t from = 0; from < rows; from += most) {
    const size_t depth = std::min<uint64_t>(most, rows - from);
    e.pool_.each(panels + tiles, [&](size_t task, uint32_t) {
      if (task < panels) {
        const size_t at = task * panel;
        pack_columns(b + from * n + at, n, std::min(panel, n - at), depth, panel,
                     packed_b + at * depth);
      } else {
        pack_tiles(a + from * m, m, m, depth, tile, task - panels, task - panels + 1, packed_a);
      }
    });
    e.pool_.each(divide_up(tiles, at_once), [&](size_t task, uint32_t) {
      const size_t row = task * at_once * tile;
      Gemm g{packed_a + row * depth,
             0,
             packed_b,
             std::min(at_once * tile, m - row),
             n,
             depth,
             c + row * n,
             n,
             {}};
      g.layout = Layout::kTiles;
      g.accumulate = true;
      e.ops_->gemm(g, 0, panels);
    });
  }
}

void Executor::Backward::norm(size_t index) {
  const GraphOp& op = e.graph_.ops[index];
  const uint64_t columns = shape(op.out).columns, all = shape(op.out).rows * batch;
  const float *x = e.value(op.x), *dy = e.gradient_of(op.out);
  const bool add = adds(index, 1);
  if (op.kind == OpKind::kL2Normalize) {
    if (!e.has_gradient(op.x)) return;
    // y = x / |x|: dx = (dy - y (y·dy)) / |x|
    float* dx = e.gradient_of(op.x);
    e.rows(all, [&](uint64_t r) {
      const float *from = x + r * columns, *d = dy + r * columns;
      double square = 0, along = 0;
      for (uint64_t i = 0; i < columns; ++i) {
        square += static_cast<double>(from[i]) * from[i];
        along += static_cast<double>(from[i]) * d[i];
      }
      const double length = std::sqrt(square);
      for (uint64_t i = 0; i < columns; ++i) {
        const float g = static_cast<float>((d[i] - from[i] * along / square) / length);
        float& to = dx[r * columns + i];
        to = add ? to + g : g;
      }
    });
    return;
  }
  // Where x is no weight's doing, its gradient goes nowhere; the weights' are still wanted.
  const bool wanted = e.has_gradient(op.x);
  const auto block = [&](uint64_t first, uint64_t count, float* sums) {
    for (uint64_t r = first; r < first + count; ++r) {
      const uint64_t at = r * columns;
      float* dx = wanted ? e.gradient_of(op.x) + at : e.gradient_of(op.out) + at;
      if (op.kind == OpKind::kLayerNorm) {
        e.ops_->layer_norm_gradient(x + at, e.weight(op.weight), op.number, dy + at, columns,
                                    wanted && add, dx, sums, sums + columns);
      } else {
        e.ops_->rms_norm_gradient(x + at, e.weight(op.weight), op.number, dy + at, columns,
                                  wanted && add, dx, sums);
      }
    }
  };
  if (op.kind == OpKind::kLayerNorm) {
    sum_over_rows(shape(op.out).rows, columns, block,
                  {weight_gradient(op.weight), weight_gradient(op.bias)});
  } else {
    sum_over_rows(shape(op.out).rows, columns, block, {weight_gradient(op.weight)});
  }
}

// With P = softmax(scale·Q·Kᵀ + bias), kept from the forward pass, and O = P·V: dV = Pᵀ·dO,
// dP = dO·Vᵀ, dS = P∘(dP - rowsum(P∘dP)), dQ = scale·dS·K, dK = scale·dSᵀ·Q; a few rows of Q at a
// time.
void Executor::Backward::attention(size_t index) {
  const GraphOp& op = e.graph_.ops[index];
  const NetworkOps* ops = e.ops_;
  const size_t heads = op.numbers[3], width = op.numbers[4], groups = op.numbers[5];
  const size_t kv_groups = op.numbers[6] ? 1 : groups;
  const GraphValue &qs = shape(op.x), &ks = shape(op.y), &vs = shape(op.z);
  const size_t lq = qs.rows / groups, lk = ks.rows / kv_groups, panel = ops->panel;
  const size_t rows_at_once = ops->row_tile * kRowTiles;
  const size_t block = std::min(up(lq, ops->row_tile), rows_at_once);
  const size_t out_columns = heads * width;
  const bool table = op.weight >= 0;
  const float* probabilities = e.arena_.data() + e.plan_.before[index] * e.batch_;
  const size_t buckets = table ? e.graph_.weights[op.weight].shape[0] : 0;
  const float* dout = e.gradient_of(op.out);
  // Heads add to their columns of the operands' gradients, which others may use the rest of.
  const int32_t operands[] = {op.x, op.y, op.z};
  for (int o = 2; o >= 0; --o) {
    if (e.has_gradient(operands[o]) && !adds(index, static_cast<uint8_t>(1 << o)))
      clear(e.gradient_of(operands[o]), shape(operands[o]).size() * batch);
  }
  const auto gradient_at = [&](int32_t v, size_t row, int64_t column, size_t head) -> float* {
    if (!e.has_gradient(v)) return nullptr;
    return e.gradient_of(v) + row * shape(v).columns + column + head * width;
  };
  e.pool_.each(batch * heads, [&](size_t task, uint32_t thread) {
    const size_t head = task % heads, example = task / heads;
    float* bias_sums = table ? e.partial_.data() + task * buckets : nullptr;
    if (bias_sums) std::memset(bias_sums, 0, buckets * sizeof(float));
    float* values = e.scratch_[thread].data();
    float* keys_across = values + packed_size(lk, width, panel);
    float* queries = keys_across + packed_size(width, lk, panel);
    float* douts = queries + packed_size(width, block, panel);
    float* dscores = douts + packed_size(width, block, panel);
    for (size_t group = 0; group < groups; ++group) {
      const size_t kv_row = example * ks.rows + (kv_groups == 1 ? 0 : group) * lk;
      const size_t q_row = example * qs.rows + group * lq;
      const float* q = e.value(op.x) + q_row * qs.columns + op.numbers[0] + head * width;
      const float* k = e.value(op.y) + kv_row * ks.columns + op.numbers[1] + head * width;
      const float* v = e.value(op.z) + kv_row * vs.columns + op.numbers[2] + head * width;
      float* dq = gradient_at(op.x, q_row, op.numbers[0], head);
      float* dk = gradient_at(op.y, kv_row, op.numbers[1], head);
      float* dv = gradient_at(op.z, kv_row, op.numbers[2], head);
      if (group == 0 || kv_groups > 1) {
        pack_rows(v, vs.columns, lk, width, panel, values);
        pack_columns(k, ks.columns, width, lk, panel, keys_across);
      }
      const size_t key_panels = divide_up(lk, panel), width_panels = divide_up(width, panel);
      for (size_t from = 0; from < lq; from += block) {
        const size_t m = std::min(block, lq - from);
        const float* d = dout + (q_row + from) * out_columns + head * width;
        const float* scores =
            probabilities + (((example * groups + group) * heads + head) * lq + from) * lk;
        ops->gemm({d, out_columns, values, m, lk, width, dscores, lk, {}}, 0, key_panels);
        for (size_t i = 0; i < m; ++i) {
          float* drow = dscores + i * lk;
          ops->softmax_gradient(scores + i * lk, lk, drow);
          for (size_t j = 0; bias_sums && j < lk; ++j)
            bias_sums[op.buckets[(from + i) * lk + j]] += drow[j];
          if (op.number != 1) {
            for (size_t j = 0; j < lk; ++j) drow[j] *= op.number;
          }
        }
        if (dv) {
          pack_columns(d, out_columns, width, m, panel, douts);
          Gemm g{scores, lk, douts, lk, width, m, dv, vs.columns, {}};
          g.layout = Layout::kColumns;
          g.accumulate = true;
          ops->gemm(g, 0, width_panels);
        }
        if (dk) {
          pack_columns(q + from * qs.columns, qs.columns, width, m, panel, queries);
          Gemm g{dscores, lk, queries, lk, width, m, dk, ks.columns, {}};
          g.layout = Layout::kColumns;
          g.accumulate = true;
          ops->gemm(g, 0, width_panels);
        }
        if (dq) {
          Gemm g{dscores, lk, keys_across, m, width, lk, dq + from * qs.columns, qs.columns, {}};
          g.accumulate = true;
          ops->gemm(g, 0, width_panels);
        }
      }
    }
  });
  if (!table) return;
  float* dtable = weight_gradient(op.weight);
  for (uint32_t example = 0; example < batch; ++example) {
    for (size_t head = 0; head < heads; ++head) {
      const float* sums = e.partial_.data() + (example * heads + head) * buckets;
      for (size_t b = 0; b < buckets; ++b) dtable[b * heads + head] += sums[b];
    }
  }
}

// Rows of one id are added in order: a task has some columns of all rows.
void Executor::Backward::embedding(const GraphOp& op) {
  const GraphInput& input = e.graph_.inputs[op.input];
  const GraphValue& out = shape(op.out);
  const int32_t* ids = inputs[op.input].integers;
  const float* dy = e.gradient_of(op.out);
  float* table = weight_gradient(op.weight) + op.numbers[0] * out.columns;
  e.pool_.each(divide_up(out.columns, kColumnBlock), [&](size_t block, uint32_t) {
    const uint64_t from = block * kColumnBlock;
    const uint64_t count = std::min<uint64_t>(kColumnBlock, out.columns - from);
    for (uint64_t r = 0; r < out.rows * batch; ++r) {
      const uint64_t id = static_cast<uint64_t>(ids[input.shared ? r % out.rows : r]);
      e.ops_->add(dy + r * out.columns + from, count, table + id * out.columns + from);
    }
  });
}

void Executor::Backward::one_row(size_t index) {
  const GraphOp& op = e.graph_.ops[index];
  if (!e.has_gradient(op.x)) return;
  const uint64_t columns = shape(op.x).columns, n = shape(op.x).rows;
  const float* dy = e.gradient_of(op.out);
  float* dx = e.gradient_of(op.x);
  e.pool_.each(batch, [&](size_t example, uint32_t) {
    float* to = dx + example * n * columns;
    const float* from = dy + example * columns;
    if (!adds(index, 1)) std::memset(to, 0, n * columns * sizeof(float));
    if (op.kind == OpKind::kMeanRows) {
      const uint64_t first = op.numbers[0];
      const float share = static_cast<float>(n - first);
      for (uint64_t r = first; r < n; ++r) {
        for (uint64_t i = 0; i < columns; ++i) to[r * columns + i] += from[i] / share;
      }
    } else {
      e.ops_->add(from, columns, to + e.selected_row(op, inputs, example) * columns);
    }
  });
}

// y = x·c·exp(w): dx = dy·c·exp(w), dw = Σ dy·y.
void Executor::Backward::scale(size_t index) {
  const GraphOp& op = e.graph_.ops[index];
  const uint64_t columns = shape(op.out).columns, all = shape(op.out).rows * batch;
  const float by =
      op.scale_weight >= 0 ? std::exp(e.weight(op.scale_weight)[0]) * op.number : op.number;
  const float* dy = e.gradient_of(op.out);
  if (op.scale_weight >= 0) {
    const float* x = e.value(op.x);
    sum_over_rows(shape(op.out).rows, 1,
                  [&](uint64_t first, uint64_t count, float* sums) {
                    double sum = 0;
                    for (uint64_t i = first * columns; i < (first + count) * columns; ++i)
                      sum += static_cast<double>(dy[i]) * (x[i] * by);
                    sums[0] = static_cast<float>(sum);
                  },
                  {weight_gradient(op.scale_weight)});
  }
  if (!e.has_gradient(op.x)) return;
  float* dx = e.gradient_of(op.x);
  const bool add = adds(index, 1);
  e.rows(all, [&](uint64_t r) {
    for (uint64_t i = r * columns; i < (r + 1) * columns; ++i)
      dx[i] = add ? dx[i] + dy[i] * by : dy[i] * by;
  });
}

// y = x·Fᵀ for the shared input F [n, depth]: dx = dy·F, dF = dyᵀ·x.
void Executor::Backward::similarity(size_t index) {
  const GraphOp& op = e.graph_.ops[index];
  const uint64_t n = shape(op.out).columns, depth = shape(op.x).columns,
                 all = shape(op.out).rows * batch;
  const float* dy = e.gradient_of(op.out);
  add_product(dy, n, e.value(op.x), depth, all, e.input_gradients_[op.input].data());
  if (!e.has_gradient(op.x)) return;
  pack_columns(inputs[op.input].floats, depth, depth, n, e.ops_->panel, e.shared_packed_.data());
  Gemm g{dy, n, e.shared_packed_.data(), all, depth, n, e.gradient_of(op.x), depth, {}};
  g.accumulate = adds(index, 1);
  e.multiply(g);
}

// The derivative of log softmax(x)[label] by x is onehot(label) - softmax(x).
void Executor::Backward::log_likelihood(size_t index) {
  const GraphOp& op = e.graph_.ops[index];
  if (!e.has_gradient(op.x)) return;
  const uint64_t classes = shape(op.out).columns, vocabulary = shape(op.x).columns,
                 x_rows = shape(op.x).rows, length = x_rows / classes;
  const int32_t* labels = inputs[op.input].integers;
  const float *x = e.value(op.x), *dy = e.gradient_of(op.out);
  float* dx = e.gradient_of(op.x);
  const bool add = adds(index, 1);
  e.rows(x_rows * batch, [&](uint64_t r) {
    const uint64_t example = r / x_rows, at = r % x_rows;
    const int32_t label = labels[at];
    const float d = dy[example * classes + at / length];
    float* to = dx + r * vocabulary;
    if (label < 0) {
      if (!add) std::memset(to, 0, vocabulary * sizeof(float));
      return;
    }
    const float* row = x + r * vocabulary;
    const double all = e.ops_->log_sum_exp(row, vocabulary);
    for (uint64_t i = 0; i < vocabulary; ++i) {
      const float p = static_cast<float>(std::exp(row[i] - all));
      const float g = d * ((static_cast<int32_t>(i) == label ? 1.0f : 0.0f) - p);
      to[i] = add ? to[i] + g : g;
    }
  });
}

}  // namespace stockpot
