// The forward pass: each operation of the graph by the kernels of ../../kernels/cuda/network.
#include "network.h"
#include "products.h"

namespace stockpot::cuda {

NetworkPass::NetworkPass(stockpot_context& context, stockpot_network& network,
                         const stockpot_network_input* inputs, uint32_t batch, cudaStream_t stream)
    : context_(context),
      network_(network),
      graph_(network.graph),
      layout_(network.layout),
      number_(network.layout.number),
      inputs_(inputs),
      batch_(batch),
      stream_(stream),
      places_(&network.layout.plan.forward) {}

cudaError_t NetworkPass::forward(float* out) {
  for (size_t i = 0; i < graph_.ops.size(); ++i) {
    const cudaError_t e = run(i, layout_.training && layout_.plan.last_segment(i));
    if (e != cudaSuccess) return e;
  }
  return to_float32(number_, value(graph_.output), elements(graph_.output), out, stream_);
}

cudaError_t NetworkPass::run(size_t index, bool keep) {
  const GraphOp& op = graph_.ops[index];
  const GraphValue& out = shape(op.out);
  const uint64_t columns = out.columns, all = rows(op.out);
  const uint64_t x_rows = op.x >= 0 ? shape(op.x).rows : 0;
  const void* x = value(op.x);
  void* to = value(op.out);
  switch (op.kind) {
    case OpKind::kPatches: {
      const stockpot_network_input& in = inputs_[op.input];
      const auto number = [&op](size_t i) { return static_cast<uint32_t>(op.numbers[i]); };
      Images images{input<void>(op.input), in.bytes != 0, number(0), number(1), number(2)};
      images.factor = in.factor;
      for (int c = 0; c < 4; ++c) {
        images.mean[c] = in.mean[c];
        images.deviation[c] = in.deviation[c];
      }
      return patches(number_, images, number(3), batch_, to, stream_);
    }
    case OpKind::kEmbedding: {
      const uint64_t first = static_cast<uint64_t>(op.numbers[0]);
      return embedding(number_, ids(op.input), row_of(op.weight, op.numbers[0], columns),
                       graph_.weights[op.weight].shape[0] - first, out.rows, all, columns, to,
                       stream_);
    }
    case OpKind::kAddRows:
    case OpKind::kAddRow:
      return add_rows(number_, x, row_of(op.weight, op.numbers[0], columns),
                      op.kind == OpKind::kAddRow ? 1 : out.rows, all, columns, to, stream_);
    case OpKind::kAdd:
      return add(number_, x, value(op.y), elements(op.out), to, stream_);
    case OpKind::kPrependRow:
      return prepend_row(number_, x, matrix(op.weight), out.rows, all, columns, to, stream_);
    case OpKind::kLinear:
      return linear(index, keep);
    case OpKind::kLayerNorm:
      return layer_norm(number_, x, vector(op.weight), vector(op.bias), op.number, all, columns, to,
                        stream_);
    case OpKind::kRmsNorm:
      return rms_norm(number_, x, vector(op.weight), op.number, all, columns, to, stream_);
    case OpKind::kAttention:
      return attend(index, keep);
    case OpKind::kSelectRow:
      return select_row(number_, x, static_cast<uint64_t>(op.numbers[0]), x_rows, batch_, columns,
                        to, stream_);
    case OpKind::kSelectRowById:
      return select_row_by_id(number_, x, input<int32_t>(op.input), op.numbers[0], x_rows, batch_,
                              columns, to, stream_);
    case OpKind::kMeanRows:
      return mean_rows(number_, x, static_cast<uint64_t>(op.numbers[0]), x_rows, batch_, columns,
                       to, stream_);
    case OpKind::kL2Normalize:
      return l2_normalize(number_, x, all, columns, to, stream_);
    case OpKind::kScale:
      return scale(number_, x, op.number, vector(op.scale_weight), elements(op.out), to, stream_);
    case OpKind::kSimilarity:
      return similarity(op);
    case OpKind::kLogLikelihood:
      return log_likelihood(number_, x, input<int32_t>(op.input), columns, x_rows / columns,
                            shape(op.x).columns, batch_, to, stream_);
  }
  return cudaErrorInvalidValue;
}

// The product with its bias, and in the same go the residual where nothing stands between; else
// what follows in a second pass, from where the backward pass needs the product.
cudaError_t NetworkPass::linear(size_t index, bool keep) {
  const GraphOp& op = graph_.ops[index];
  const bool more = op.activation != Activation::kNone || op.scale_weight >= 0 || op.y >= 0;
  const uint64_t n = shape(op.out).columns, depth = shape(op.x).columns;
  void* kept = keep ? before(index) : nullptr;
  void* to = value(op.out);
  Matmul p{};
  p.number = number_;
  p.m = rows(op.out);
  p.n = n;
  p.k = depth;
  p.a = value(op.x);
  p.lda = depth;
  p.b = matrix(op.weight);
  p.ldb = op.transposed ? n : depth;
  p.b_transposed = !op.transposed;
  p.c = kept ? kept : to;
  p.ldc = n;
  p.bias = vector(op.bias);
  if (!more) p.residual = value(op.z);
  cudaError_t e = multiply(p, shape(op.out).rows);
  if (e != cudaSuccess || !more) return e;
  EpiloguePass rest{};
  rest.z = p.c;
  rest.activation = op.activation;
  rest.scale = vector(op.scale_weight);
  rest.multiply = value(op.y);
  rest.residual = value(op.z);
  rest.out = to;
  rest.rows = p.m;
  rest.columns = n;
  return epilogue(number_, rest, stream_);
}

Attention NetworkPass::attention_at(size_t index) const {
  const GraphOp& op = graph_.ops[index];
  Attention a = attention_of(graph_, op, number_, batch_);
  const auto from = [this](int32_t v, int64_t column) {
    return static_cast<const uint8_t*>(value(v)) +
           static_cast<uint64_t>(column) * byte_size(number_);
  };
  a.q = from(op.x, op.numbers[0]);
  a.k = from(op.y, op.numbers[1]);
  a.v = from(op.z, op.numbers[2]);
  if (op.input >= 0) a.mask = input<int32_t>(op.input);
  a.table = vector(op.weight);
  if (layout_.buckets[index] != kNowhere)
    a.bucket = reinterpret_cast<const int32_t*>(at(layout_.buckets[index]));
  return a;
}

cudaError_t NetworkPass::attend(size_t index, bool keep) {
  float* log_sums = keep ? static_cast<float*>(before(index)) : nullptr;
  return attention(attention_at(index), value(graph_.ops[index].out), log_sums, stream_);
}

cudaError_t NetworkPass::features(const GraphOp& op, const void** to) {
  *to = input<void>(op.input);
  if (number_ == Number::kF32) return cudaSuccess;
  *to = at(layout_.features);
  return to_number(number_, input<float>(op.input), graph_.inputs[op.input].elements,
                   at(layout_.features), stream_);
}

cudaError_t NetworkPass::similarity(const GraphOp& op) {
  Matmul p{};
  const cudaError_t e = features(op, &p.b);
  if (e != cudaSuccess) return e;
  p.number = number_;
  p.m = rows(op.out);
  p.n = p.ldc = shape(op.out).columns;
  p.k = p.lda = p.ldb = shape(op.x).columns;
  p.a = value(op.x);
  p.b_transposed = true;
  p.c = value(op.out);
  return multiply(p, shape(op.out).rows);
}

cudaError_t NetworkPass::multiply(const Matmul& p, uint64_t rows_each) {
  if (number_ == Number::kF32) return matmul(p, stream_);
  return context_.products->multiply(p, rows_each * layout_.largest_batch, at(layout_.products),
                                     stream_);
}

}  // namespace stockpot::cuda
