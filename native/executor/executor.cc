#include "executor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../kernels/plain/convert.h"
#include "sizes.h"

namespace stockpot {
namespace {

constexpr size_t kPanelsAtOnce = 8;  // of B, in one task, where there are few rows

}  // namespace

Executor::Executor(Graph graph, uint32_t largest_batch, uint32_t threads, const NetworkOps* ops)
    : graph_(std::move(graph)),
      training_(false),
      batch_(largest_batch),
      ops_(ops),
      pool_(threads),
      offsets_(&plan_.forward) {
  MemoryPlan plan = plan_memory(graph_);
  plan_.forward = std::move(plan.offset);
  plan_.before.assign(graph_.ops.size(), kNowhere);
  plan_.size = plan.size;
  allocate();
}

Executor::Executor(Graph graph, TrainingPlan plan, uint32_t largest_batch, uint32_t threads,
                   const NetworkOps* ops)
    : graph_(std::move(graph)),
      plan_(std::move(plan)),
      training_(true),
      batch_(largest_batch),
      ops_(ops),
      pool_(threads),
      offsets_(&plan_.forward) {
  allocate();
}

void Executor::allocate() {
  packed_ = how_packed(graph_);
  const ExecutorSizes sizes = executor_sizes(graph_, training_ ? &plan_ : nullptr, batch_, *ops_);
  bytes_ = sizes.bytes(pool_.threads());
  arena_.resize(sizes.arena);
  const auto make = [](const std::vector<uint64_t>& from, std::vector<Pages<float>>* to) {
    to->resize(from.size());
    for (size_t i = 0; i < from.size(); ++i) (*to)[i].resize(from[i]);
  };
  make(sizes.weights, &weights_);
  make(sizes.gradients, &gradients_);
  make(sizes.input_gradients, &input_gradients_);
  scratch_.resize(pool_.threads());
  for (auto& s : scratch_) s.resize(sizes.scratch);
  shared_packed_.resize(sizes.similarity);
  partial_.resize(sizes.partial);
  packed_a_.resize(sizes.packed_a);
  packed_b_.resize(sizes.packed_b);
}

void Executor::set_weight(int32_t w, uint64_t first, uint64_t count, DType dtype,
                          const uint8_t* data) {
  const GraphWeight& shape = graph_.weights[w];
  const uint8_t how = packed_[w] & 3;
  const size_t item = byte_size(dtype);
  const auto load = [dtype, data, item](uint64_t i) {
    if (dtype == DType::kF32) {
      float f;
      std::memcpy(&f, data + i * item, sizeof(f));
      return f;
    }
    return static_cast<float>(plain::load(dtype, data + i * item));
  };
  float* to = weights_[w].data();
  if (how == 0) {
    for (uint64_t i = 0; i < count; ++i) to[first + i] = load(i);
    return;
  }
  const size_t panel = ops_->panel;
  const uint64_t rows = shape.shape[0], columns = shape.elements() / rows;
  // Element (r, c) as stored is (n, k) = (r, c) of the packed matrix, or (c, r) where transposed.
  const uint64_t depth = how == 1 ? columns : rows;
  float* stored = to + packed_size(how == 1 ? rows : columns, depth, panel);
  uint64_t r = first / columns, c = first % columns;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t n = how == 1 ? r : c, k = how == 1 ? c : r;
    const float v = load(i);
    to[(n / panel * depth + k) * panel + n % panel] = v;
    if (packed_[w] & 4) stored[first + i] = v;
    if (++c == columns) {
      c = 0;
      ++r;
    }
  }
}

std::string Executor::begin(const std::vector<InputData>& inputs, uint32_t batch) {
  offsets_ = &plan_.forward;
  ran_ = 0;
  return check_ids(graph_, inputs, batch);
}

void Executor::finish(uint32_t batch, float* out) {
  ran_ = batch;
  std::memcpy(out, value(graph_.output),
              graph_.values[graph_.output].size() * batch * sizeof(float));
}

// `keep`: also what the backward pass needs besides values.
void Executor::run_op(size_t index, const std::vector<InputData>& inputs, uint32_t batch,
                      bool keep) {
  const GraphOp& op = graph_.ops[index];
  const GraphValue& shape = graph_.values[op.out];
  const uint64_t columns = shape.columns;
  const uint64_t all = shape.rows * batch;
  float* out = value(op.out);
  const float* x = op.x >= 0 ? value(op.x) : nullptr;
  const uint64_t x_rows = op.x >= 0 ? graph_.values[op.x].rows : 0;
  const size_t row_bytes = columns * sizeof(float);
  float* before = keep && plan_.before[index] != kNowhere
                      ? arena_.data() + plan_.before[index] * batch_
                      : nullptr;
  switch (op.kind) {
    case OpKind::kPatches: {
      const uint64_t c = op.numbers[0], h = op.numbers[1], w = op.numbers[2], p = op.numbers[3];
      const float* image = inputs[op.input].floats;
      rows(all, [&](uint64_t r) {
        const float* from = image + r / shape.rows * c * h * w;
        const uint64_t y = r % shape.rows / (w / p) * p, x0 = r % shape.rows % (w / p) * p;
        float* to = out + r * columns;
        for (uint64_t channel = 0; channel < c; ++channel) {
          for (uint64_t i = 0; i < p; ++i, to += p) {
            std::memcpy(to, from + (channel * h + y + i) * w + x0, p * sizeof(float));
          }
        }
      });
      break;
    }
    case OpKind::kEmbedding: {
      const GraphInput& input = graph_.inputs[op.input];
      const int32_t* ids = inputs[op.input].integers;
      const float* table = weight(op.weight);
      if (packed_[op.weight] & 3)
        table += weights_[op.weight].size() - graph_.weights[op.weight].elements();
      rows(all, [&](uint64_t r) {
        const int64_t id = ids[input.shared ? r % shape.rows : r] + op.numbers[0];
        std::memcpy(out + r * columns, table + static_cast<uint64_t>(id) * columns, row_bytes);
      });
      break;
    }
    case OpKind::kAddRows:
    case OpKind::kAddRow: {
      const float* table = weight(op.weight) + op.numbers[0] * columns;
      rows(all, [&](uint64_t r) {
        const float* add = op.kind == OpKind::kAddRow ? table : table + r % shape.rows * columns;
        for (uint64_t i = 0; i < columns; ++i) out[r * columns + i] = x[r * columns + i] + add[i];
      });
      break;
    }
    case OpKind::kAdd: {
      const float* y = value(op.y);
      rows(all, [&](uint64_t r) {
        for (uint64_t i = r * columns; i < (r + 1) * columns; ++i) out[i] = x[i] + y[i];
      });
      break;
    }
    case OpKind::kPrependRow:
      rows(all, [&](uint64_t r) {
        const uint64_t example = r / shape.rows, at = r % shape.rows;
        std::memcpy(out + r * columns,
                    at == 0 ? weight(op.weight) : x + (example * x_rows + at - 1) * columns,
                    row_bytes);
      });
      break;
    case OpKind::kLinear:
      linear(op, before, batch);
      break;
    case OpKind::kLayerNorm:
      rows(all, [&](uint64_t r) {
        ops_->layer_norm(x + r * columns, weight(op.weight), weight(op.bias), op.number, columns,
                         out + r * columns);
      });
      break;
    case OpKind::kRmsNorm:
      rows(all, [&](uint64_t r) {
        ops_->rms_norm(x + r * columns, weight(op.weight), op.number, columns, out + r * columns);
      });
      break;
    case OpKind::kAttention:
      attention(op, before, inputs, batch);
      break;
    case OpKind::kSelectRow:
    case OpKind::kSelectRowById:
      rows(batch, [&](uint64_t e) {
        const uint64_t at = selected_row(op, inputs, e);
        std::memcpy(out + e * columns, x + (e * x_rows + at) * columns, row_bytes);
      });
      break;
    case OpKind::kMeanRows:
      rows(batch, [&](uint64_t e) {
        float* to = out + e * columns;
        const uint64_t from = op.numbers[0];
        std::memcpy(to, x + (e * x_rows + from) * columns, row_bytes);
        for (uint64_t r = from + 1; r < x_rows; ++r) {
          for (uint64_t i = 0; i < columns; ++i) to[i] += x[(e * x_rows + r) * columns + i];
        }
        for (uint64_t i = 0; i < columns; ++i) to[i] /= static_cast<float>(x_rows - from);
      });
      break;
    case OpKind::kL2Normalize:
      rows(all, [&](uint64_t r) {
        double sum = 0;
        for (uint64_t i = 0; i < columns; ++i)
          sum += static_cast<double>(x[r * columns + i]) * x[r * columns + i];
        const float scale = static_cast<float>(1.0 / std::sqrt(sum));
        for (uint64_t i = 0; i < columns; ++i) out[r * columns + i] = x[r * columns + i] * scale;
      });
      break;
    case OpKind::kScale: {
      const float by =
          op.scale_weight >= 0 ? std::exp(weight(op.scale_weight)[0]) * op.number : op.number;
      rows(all, [&](uint64_t r) {
        for (uint64_t i = r * columns; i < (r + 1) * columns; ++i) out[i] = x[i] * by;
      });
      break;
    }
    case OpKind::kSimilarity: {
      const size_t depth = graph_.values[op.x].columns;
      pack_rows(inputs[op.input].floats, depth, columns, depth, ops_->panel, shared_packed_.data());
      multiply({x, depth, shared_packed_.data(), all, columns, depth, out, columns, {}});
      break;
    }
    case OpKind::kLogLikelihood: {
      const int32_t* labels = inputs[op.input].integers;
      const uint64_t length = x_rows / columns, vocabulary = graph_.values[op.x].columns;
      rows(batch * columns, [&](uint64_t r) {
        const uint64_t example = r / columns, c = r % columns;
        double sum = 0;
        for (uint64_t t = 0; t < length; ++t) {
          const int32_t label = labels[c * length + t];
          if (label < 0) continue;
          const float* row = x + (example * x_rows + c * length + t) * vocabulary;
          sum += row[label] - ops_->log_sum_exp(row, vocabulary);
        }
        out[r] = static_cast<float>(sum);
      });
      break;
    }
  }
}

// The row that select_row or select_row_by_id takes of an example.
uint64_t Executor::selected_row(const GraphOp& op, const std::vector<InputData>& inputs,
                                uint64_t example) {
  if (op.kind == OpKind::kSelectRow) return op.numbers[0];
  const uint64_t n = graph_.values[op.x].rows;
  const int32_t* ids = inputs[op.input].integers + example * n;
  const int32_t* end = ids + n;
  const int32_t* found = op.numbers[0] < 0
                             ? std::max_element(ids, end)
                             : std::find(ids, end, static_cast<int32_t>(op.numbers[0]));
  return found == end ? 0 : static_cast<uint64_t>(found - ids);
}

void Executor::linear(const GraphOp& op, float* before, uint32_t batch) {
  const GraphValue& shape = graph_.values[op.out];
  const size_t depth = graph_.values[op.x].columns, n = shape.columns;
  Gemm g{value(op.x), depth, weight(op.weight), shape.rows * batch, n, depth, value(op.out), n, {}};
  g.epilogue.activation = op.activation;
  if (op.bias >= 0) g.epilogue.bias = weight(op.bias);
  if (op.scale_weight >= 0) g.epilogue.scale = weight(op.scale_weight);
  if (op.y >= 0) g.epilogue.multiply = value(op.y);
  if (op.z >= 0) g.epilogue.residual = value(op.z);
  g.epilogue.before = before;
  g.epilogue.ld_multiply = g.epilogue.ld_residual = g.epilogue.ld_before = n;
  multiply(g);
}

void Executor::multiply(const Gemm& g) {
  const size_t block = ops_->row_tile * kRowTiles;
  const size_t blocks = (g.m + block - 1) / block;
  const size_t panels = up(g.n, ops_->panel) / ops_->panel;
  // Blocks of rows are tasks; where there are few, groups of panels are too.
  const size_t at_once = blocks >= 4 * pool_.threads() ? panels : std::min(panels, kPanelsAtOnce);
  const size_t groups = (panels + at_once - 1) / at_once;
  pool_.each(blocks * groups, [&](size_t task, uint32_t) {
    const size_t from = task / groups * block, first = task % groups * at_once;
    Gemm part = g;
    part.m = std::min(block, g.m - from);
    part.a += from * g.lda;
    part.c += from * g.ldc;
    Epilogue& e = part.epilogue;
    if (e.before) e.before += from * e.ld_before;
    if (e.multiply) e.multiply += from * e.ld_multiply;
    if (e.residual) e.residual += from * e.ld_residual;
    ops_->gemm(part, first, std::min(panels, first + at_once));
  });
}

// Products of one query (row `i` of its head) with all keys to probabilities.
void Executor::finish_scores(const GraphOp& op, const int32_t* mask, const float* table, size_t i,
                             size_t head, size_t keys, bool causal, float* row) const {
  const size_t heads = op.numbers[3];
  const float scale = op.number;
  for (size_t j = 0; j < keys; ++j) row[j] *= scale;
  for (size_t j = 0; table && j < keys; ++j)
    row[j] += table[static_cast<size_t>(op.buckets[i * keys + j]) * heads + head];
  for (size_t j = 0; mask && j < keys; ++j) {
    if (mask[j] == 0) row[j] = -INFINITY;
  }
  for (size_t j = i + 1; causal && j < keys; ++j) row[j] = -INFINITY;
  ops_->softmax(row, keys);
}

void Executor::attention(const GraphOp& op, float* before, const std::vector<InputData>& inputs,
                         uint32_t batch) {
  const size_t heads = op.numbers[3], width = op.numbers[4], groups = op.numbers[5];
  const size_t kv_groups = op.numbers[6] ? 1 : groups;
  const bool causal = op.numbers[7] != 0;
  const GraphValue &qs = graph_.values[op.x], &ks = graph_.values[op.y], &vs = graph_.values[op.z];
  const size_t lq = qs.rows / groups, lk = ks.rows / kv_groups, panel = ops_->panel;
  const size_t block = std::min(up(lq, ops_->row_tile), ops_->row_tile * kRowTiles);
  const float* table = op.weight >= 0 ? weight(op.weight) : nullptr;
  pool_.each(batch * groups * heads, [&](size_t task, uint32_t thread) {
    const size_t head = task % heads, group = task / heads % groups,
                 example = task / heads / groups;
    const size_t kv_row = example * ks.rows + (kv_groups == 1 ? 0 : group) * lk;
    const float* q =
        value(op.x) + (example * qs.rows + group * lq) * qs.columns + op.numbers[0] + head * width;
    const float* k = value(op.y) + kv_row * ks.columns + op.numbers[1] + head * width;
    const float* v = value(op.z) + kv_row * vs.columns + op.numbers[2] + head * width;
    float* packed_k = scratch_[thread].data();
    float* packed_v = packed_k + packed_size(lk, width, panel);
    float* room = packed_v + packed_size(width, lk, panel);
    pack_rows(k, ks.columns, lk, width, panel, packed_k);
    pack_columns(v, vs.columns, width, lk, panel, packed_v);
    const int32_t* mask = op.input < 0 ? nullptr
                          : graph_.inputs[op.input].shared
                              ? inputs[op.input].integers
                              : inputs[op.input].integers + example * lk;
    for (size_t from = 0; from < lq; from += block) {
      const size_t m = std::min(block, lq - from);
      float* scores = before ? before + (task * lq + from) * lk : room;
      ops_->gemm({q + from * qs.columns, qs.columns, packed_k, m, lk, width, scores, lk, {}}, 0,
                 up(lk, panel) / panel);
      for (size_t i = 0; i < m; ++i) {
        finish_scores(op, mask, table, from + i, head, lk, causal, scores + i * lk);
      }
      float* out =
          value(op.out) + (example * qs.rows + group * lq + from) * heads * width + head * width;
      ops_->gemm({scores, lk, packed_v, m, width, lk, out, heads * width, {}}, 0,
                 up(width, panel) / panel);
    }
  });
}

}  // namespace stockpot
