// The backward pass, as native/executor/backward.cc on the processor: the operations in reverse,
// each adding to the gradients of its weights and giving those of the values that it read.
#include "network.h"

namespace stockpot::cuda {

cudaError_t NetworkPass::backward(const float* dout) {
  const bool ranged = number_ == Number::kF16;
  float* gradients = reinterpret_cast<float*>(at(layout_.first_gradient));
  const uint64_t count = layout_.gradient_bytes / sizeof(float);
  void* first = gradient_of(graph_.output);
  const uint64_t n = elements(graph_.output);
  cudaError_t e = ranged ? scale_up(dout, n, first, gradients, count, range(), stream_)
                         : to_number(number_, dout, n, first, stream_);
  if (e == cudaSuccess) e = gradients_of_all();
  return e == cudaSuccess && ranged ? scale_back(gradients, count, range(), stream_) : e;
}

cudaError_t NetworkPass::gradients_of_all() {
  const TrainingPlan& plan = layout_.plan;
  cudaError_t e = cudaSuccess;
  places_ = &plan.backward;
  for (size_t s = plan.segments(); s-- > 0;) {
    const size_t begin = plan.begins[s], end = plan.begins[s + 1];
    for (size_t i = begin; i < end && !plan.last_segment(begin); ++i) {
      // What crosses the border was kept; what an operation keeps besides its value was not.
      const bool again = !plan.crosses[graph_.ops[i].out] || plan.before[i] != kNowhere;
      if (e == cudaSuccess && again) e = run(i, true);
    }
    for (size_t i = end; i-- > begin;) {
      if (e == cudaSuccess && has_gradient(graph_.ops[i].out)) e = gradient(i);
    }
  }
  return e;
}

// The output's gradient is also that of an operand: 0 x, 1 y, 2 z.
cudaError_t NetworkPass::pass_on(size_t index, int operand, int32_t v) {
  if (!has_gradient(v)) return cudaSuccess;
  const int32_t out = graph_.ops[index].out;
  return pass_gradient(number_, gradient_of(out), elements(out), adds(index, operand),
                       gradient_of(v), stream_);
}

cudaError_t NetworkPass::gradient(size_t index) {
  const GraphOp& op = graph_.ops[index];
  const GraphValue& out = shape(op.out);
  const uint64_t columns = out.columns, all = rows(op.out);
  const uint64_t x_rows = op.x >= 0 ? shape(op.x).rows : 0;
  const bool moves = layout_.plan.moves[index], add_x = adds(index, 0);
  const void *x = value(op.x), *dy = gradient_of(op.out);
  void* dx = gradient_of(op.x);
  switch (op.kind) {
    case OpKind::kPatches:
      return cudaSuccess;
    case OpKind::kEmbedding: {
      const uint64_t first = static_cast<uint64_t>(op.numbers[0]);
      return embedding_gradient(number_, ids(op.input), dy,
                                graph_.weights[op.weight].shape[0] - first, out.rows, all, columns,
                                weight_gradient(op.weight) + first * columns, partial(), stream_);
    }
    case OpKind::kAddRows:
    case OpKind::kAddRow: {
      const uint64_t first = static_cast<uint64_t>(op.numbers[0]);
      const cudaError_t e =
          add_rows_gradient(number_, dy, op.kind == OpKind::kAddRow ? 1 : out.rows, all, columns,
                            weight_gradient(op.weight) + first * columns, partial(), stream_);
      return e != cudaSuccess || moves ? e : pass_on(index, 0, op.x);
    }
    case OpKind::kAdd: {
      const cudaError_t e = pass_on(index, 1, op.y);
      return e != cudaSuccess || moves ? e : pass_on(index, 0, op.x);
    }
    case OpKind::kPrependRow:
      return prepend_row_gradient(number_, dy, out.rows, all, columns, add_x, dx,
                                  weight_gradient(op.weight), partial(), stream_);
    case OpKind::kLinear:
      return linear_gradient(index);
    case OpKind::kLayerNorm:
      return layer_norm_gradient(number_, x, vector(op.weight), op.number, dy, all, columns, add_x,
                                 dx, weight_gradient(op.weight), weight_gradient(op.bias),
                                 partial(), stream_);
    case OpKind::kRmsNorm:
      return rms_norm_gradient(number_, x, vector(op.weight), op.number, dy, all, columns, add_x,
                               dx, weight_gradient(op.weight), partial(), stream_);
    case OpKind::kAttention:
      return attend_gradient(index);
    case OpKind::kScale:
      return scale_gradient(number_, x, op.number, vector(op.scale_weight), dy, all, columns, add_x,
                            dx, weight_gradient(op.scale_weight), partial(), stream_);
    case OpKind::kSimilarity:
      return similarity_gradient(index);
    default:
      break;
  }
  // Those below have no weights.
  if (!dx) return cudaSuccess;
  switch (op.kind) {
    case OpKind::kSelectRow:
      return select_row_gradient(number_, dy, static_cast<uint64_t>(op.numbers[0]), x_rows, batch_,
                                 columns, add_x, dx, stream_);
    case OpKind::kSelectRowById:
      return select_row_by_id_gradient(number_, dy, input<int32_t>(op.input), op.numbers[0], x_rows,
                                       batch_, columns, add_x, dx, stream_);
    case OpKind::kMeanRows:
      return mean_rows_gradient(number_, dy, static_cast<uint64_t>(op.numbers[0]), x_rows, batch_,
                                columns, add_x, dx, stream_);
    case OpKind::kL2Normalize:
      return l2_normalize_gradient(number_, x, dy, all, columns, add_x, dx, stream_);
    case OpKind::kLogLikelihood:
      return log_likelihood_gradient(number_, x, input<int32_t>(op.input), dy, columns,
                                     x_rows / columns, shape(op.x).columns, batch_, add_x, dx,
                                     stream_);
    default:
      return cudaErrorInvalidValue;
  }
}

// With z = x·Wᵀ + b and y = activation(z) · scale · multiply + residual.
cudaError_t NetworkPass::linear_gradient(size_t index) {
  const GraphOp& op = graph_.ops[index];
  const TrainingPlan& plan = layout_.plan;
  const uint64_t n = shape(op.out).columns, depth = shape(op.x).columns, all = rows(op.out);
  const uint64_t each = shape(op.out).rows;
  cudaError_t e = plan.moves[index] ? cudaSuccess : pass_on(index, 2, op.z);
  if (e != cudaSuccess) return e;

  EpilogueGradient g{};
  g.dy = gradient_of(op.out);
  g.before = before(index);
  const void* dz = g.dy;
  if (g.before) {
    g.activation = op.activation;
    g.scale = vector(op.scale_weight);
    g.multiply = value(op.y);
    g.dmultiply = gradient_of(op.y);
    g.add_multiply = adds(index, 1);
    g.dscale = weight_gradient(op.scale_weight);
    // The output's gradient may have become the residual's.
    g.dz =
        plan.temporary[index] == kNowhere ? gradient_of(op.out) : activation(plan.temporary[index]);
    dz = g.dz;
  }
  g.dbias = weight_gradient(op.bias);
  g.partial = partial();
  g.rows = all;
  g.columns = n;
  if (g.before || g.dbias) e = epilogue_gradient(number_, g, stream_);
  if (e != cudaSuccess) return e;

  if (has_gradient(op.x)) {
    Matmul p{};
    p.number = number_;
    p.m = all;
    p.n = p.ldc = depth;
    p.k = p.lda = n;
    p.a = dz;
    p.b = matrix(op.weight);
    p.ldb = op.transposed ? n : depth;
    p.b_transposed = op.transposed;
    p.c = gradient_of(op.x);
    p.accumulate = adds(index, 0);
    e = multiply(p, each);
    if (e != cudaSuccess) return e;
  }
  Matmul p{};
  p.number = number_;
  p.m = p.lda = op.transposed ? depth : n;
  p.n = p.ldb = p.ldc = op.transposed ? n : depth;
  p.k = all;
  p.a = op.transposed ? value(op.x) : dz;
  p.a_transposed = true;
  p.b = op.transposed ? dz : value(op.x);
  p.c = weight_gradient(op.weight);
  p.c_float = p.accumulate = true;
  return multiply(p, each);
}

// An operand takes some columns of its value, whose gradient other operands, or none, may have the
// rest of.
cudaError_t NetworkPass::attend_gradient(size_t index) {
  const GraphOp& op = graph_.ops[index];
  const Attention a = attention_at(index);
  const uint64_t taken = uint64_t{a.heads} * a.width;
  const int32_t operands[] = {op.x, op.y, op.z};
  AttentionGradient g{};
  void** to[] = {&g.dq, &g.dk, &g.dv};
  bool* add[] = {&g.add_q, &g.add_k, &g.add_v};
  for (int o = 2; o >= 0; --o) {
    const int32_t v = operands[o];
    if (!has_gradient(v)) continue;
    uint8_t* begin = static_cast<uint8_t*>(gradient_of(v));
    *to[o] = begin + static_cast<uint64_t>(op.numbers[o]) * byte_size(number_);
    // As the first operand that has this value found it.
    int first = 2;
    uint64_t operands_of = 0;
    while (operands[first] != v) --first;
    for (const int32_t other : operands) operands_of += other == v;
    *add[o] = adds(index, first) || operands_of * taken != shape(v).columns;
    if (*add[o] && o == first && !adds(index, first)) {
      const cudaError_t e = cudaMemsetAsync(begin, 0, elements(v) * byte_size(number_), stream_);
      if (e != cudaSuccess) return e;
    }
  }
  g.out = value(op.out);
  g.log_sums = static_cast<const float*>(before(index));
  g.dout = gradient_of(op.out);
  g.dtable = weight_gradient(op.weight);
  g.scratch = reinterpret_cast<float*>(at(layout_.attention));
  return attention_gradient(a, g, stream_);
}

// y = x·Fᵀ for the shared input F [n, depth]: dF = dyᵀ·x, dx = dy·F.
cudaError_t NetworkPass::similarity_gradient(size_t index) {
  const GraphOp& op = graph_.ops[index];
  const uint64_t n = shape(op.out).columns, depth = shape(op.x).columns, all = rows(op.out);
  const uint64_t each = shape(op.out).rows;
  Matmul p{};
  p.number = number_;
  p.m = p.lda = n;
  p.n = p.ldb = p.ldc = depth;
  p.k = all;
  p.a = gradient_of(op.out);
  p.a_transposed = true;
  p.b = value(op.x);
  p.c = at(layout_.input_gradients[op.input]);
  p.c_float = p.accumulate = true;
  cudaError_t e = multiply(p, each);
  if (e != cudaSuccess || !has_gradient(op.x)) return e;
  Matmul back{};
  e = features(op, &back.b);
  if (e != cudaSuccess) return e;
  back.number = number_;
  back.m = all;
  back.n = back.ldb = back.ldc = depth;
  back.k = back.lda = n;
  back.a = gradient_of(op.out);
  back.c = gradient_of(op.x);
  back.accumulate = adds(index, 0);
  return multiply(back, each);
}

}  // namespace stockpot::cuda
