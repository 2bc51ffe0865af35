#include "graph.h"

#include "network.h"

namespace stockpot {
namespace {

class Checker {
 public:
  explicit Checker(const Graph& g) : g_(g), made_(g.values.size(), false) {}

  std::string run() {
    uint64_t floats = 0;
    const auto more = [&floats](uint64_t n) {
      floats += n;
      return n <= kMostFloats && floats <= kMostFloats;
    };
    for (const GraphValue& v : g_.values) {
      if (v.rows == 0 || v.columns == 0 || !more(times(v.rows, v.columns))) return "a value's size";
    }
    for (const GraphWeight& w : g_.weights) {
      if (!more(w.elements())) return "a weight's size";
    }
    for (const GraphInput& i : g_.inputs) {
      if (!more(i.elements)) return "an input's size";
    }
    for (size_t i = 0; i < g_.ops.size(); ++i) {
      const GraphOp& op = g_.ops[i];
      if (!value(op.out)) return where(i, "out");
      if (made_[op.out]) return where(i, "out is made twice");
      if (const char* wrong = one(op)) return where(i, wrong);
      made_[op.out] = true;
    }
    // A weight is packed in one way.
    for (const GraphOp& op : g_.ops) {
      for (const GraphOp& other : g_.ops) {
        if (op.kind == OpKind::kLinear && other.kind == OpKind::kLinear &&
            op.weight == other.weight && op.transposed != other.transposed) {
          return "a weight is used both transposed and not";
        }
      }
    }
    if (!value(g_.output) || !made_[g_.output] || g_.values[g_.output].rows != 1)
      return "the output";
    return "";
  }

 private:
  static std::string where(size_t op, const char* what) {
    return "operation " + std::to_string(op) + ": " + what;
  }
  bool value(int32_t v) const { return v >= 0 && static_cast<size_t>(v) < g_.values.size(); }
  bool ready(int32_t v) const { return value(v) && made_[v]; }
  const GraphValue& at(int32_t v) const { return g_.values[v]; }
  bool same(int32_t a, int32_t b) const {
    return at(a).rows == at(b).rows && at(a).columns == at(b).columns;
  }
  bool weight(int32_t w) const { return w >= 0 && static_cast<size_t>(w) < g_.weights.size(); }
  bool elements(int32_t w, uint64_t n) const { return weight(w) && g_.weights[w].elements() == n; }
  bool input(int32_t i, bool integers) const {
    return i >= 0 && static_cast<size_t>(i) < g_.inputs.size() && g_.inputs[i].integers == integers;
  }
  bool numbers(const GraphOp& op, size_t n, int64_t least) const {
    if (op.numbers.size() != n) return false;
    for (int64_t v : op.numbers) {
      if (v < least || v > static_cast<int64_t>(kMostFloats)) return false;
    }
    return true;
  }
  static uint64_t u(int64_t v) { return static_cast<uint64_t>(v); }

  const char* one(const GraphOp& op) const {
    const GraphValue& out = at(op.out);
    switch (op.kind) {
      case OpKind::kPatches: {
        if (!numbers(op, 4, 1) || !input(op.input, false) || g_.inputs[op.input].shared)
          return "patches";
        const uint64_t c = u(op.numbers[0]), h = u(op.numbers[1]), w = u(op.numbers[2]),
                       p = u(op.numbers[3]);
        // What is left over at the right and at the bottom is in no patch, as in a convolution.
        if (g_.inputs[op.input].elements != product({c, h, w}) || h < p || w < p)
          return "patches' image";
        return out.rows == times(h / p, w / p) && out.columns == product({c, p, p})
                   ? nullptr
                   : "patches' size";
      }
      case OpKind::kEmbedding:
        if (!numbers(op, 1, 0) || !input(op.input, true) || !weight(op.weight)) return "embedding";
        return g_.inputs[op.input].elements == out.rows &&
                       g_.weights[op.weight].shape.size() == 2 &&
                       g_.weights[op.weight].shape[1] == out.columns &&
                       g_.weights[op.weight].shape[0] > 0
                   ? nullptr
                   : "embedding's size";
      case OpKind::kAddRows:
        if (!numbers(op, 1, 0) || !ready(op.x) || !same(op.x, op.out) || !weight(op.weight))
          return "add_rows";
        return g_.weights[op.weight].elements() >=
                           times(u(op.numbers[0]) + out.rows, out.columns) &&
                       g_.weights[op.weight].elements() % out.columns == 0
                   ? nullptr
                   : "add_rows' table";
      case OpKind::kAddRow:
        if (!numbers(op, 1, 0) || !ready(op.x) || !same(op.x, op.out) || !weight(op.weight))
          return "add_row";
        return g_.weights[op.weight].elements() >= times(u(op.numbers[0]) + 1, out.columns)
                   ? nullptr
                   : "add_row's table";
      case OpKind::kAdd:
        return ready(op.x) && ready(op.y) && same(op.x, op.out) && same(op.y, op.out) ? nullptr
                                                                                      : "add";
      case OpKind::kPrependRow:
        return ready(op.x) && elements(op.weight, out.columns) && at(op.x).columns == out.columns &&
                       at(op.x).rows + 1 == out.rows
                   ? nullptr
                   : "prepend_row";
      case OpKind::kLinear:
        return linear(op);
      case OpKind::kLayerNorm:
      case OpKind::kRmsNorm:
        return ready(op.x) && same(op.x, op.out) && elements(op.weight, out.columns) &&
                       (op.kind == OpKind::kRmsNorm || elements(op.bias, out.columns))
                   ? nullptr
                   : "norm";
      case OpKind::kAttention:
        return attention(op);
      case OpKind::kSelectRow:
        return numbers(op, 1, 0) && ready(op.x) && u(op.numbers[0]) < at(op.x).rows &&
                       out.rows == 1 && at(op.x).columns == out.columns
                   ? nullptr
                   : "select_row";
      case OpKind::kSelectRowById:
        return numbers(op, 1, -1) && ready(op.x) && input(op.input, true) &&
                       !g_.inputs[op.input].shared &&
                       g_.inputs[op.input].elements == at(op.x).rows && out.rows == 1 &&
                       at(op.x).columns == out.columns
                   ? nullptr
                   : "select_row_by_id";
      case OpKind::kMeanRows:
        return numbers(op, 1, 0) && ready(op.x) && u(op.numbers[0]) < at(op.x).rows &&
                       out.rows == 1 && at(op.x).columns == out.columns
                   ? nullptr
                   : "mean_rows";
      case OpKind::kL2Normalize:
        return ready(op.x) && same(op.x, op.out) ? nullptr : "l2_normalize";
      case OpKind::kScale:
        return ready(op.x) && same(op.x, op.out) &&
                       (op.scale_weight < 0 || elements(op.scale_weight, 1))
                   ? nullptr
                   : "scale";
      case OpKind::kSimilarity:
        return ready(op.x) && input(op.input, false) && g_.inputs[op.input].shared &&
                       at(op.x).rows == out.rows &&
                       g_.inputs[op.input].elements == times(out.columns, at(op.x).columns)
                   ? nullptr
                   : "similarity";
      case OpKind::kLogLikelihood:
        return numbers(op, 1, 1) && ready(op.x) && input(op.input, true) &&
                       g_.inputs[op.input].shared &&
                       g_.inputs[op.input].elements == at(op.x).rows && out.rows == 1 &&
                       out.columns == u(op.numbers[0]) && at(op.x).rows % out.columns == 0
                   ? nullptr
                   : "log_likelihood";
    }
    return "an unknown operation";
  }

  const char* linear(const GraphOp& op) const {
    if (!ready(op.x) || !weight(op.weight)) return "linear";
    const GraphValue& out = at(op.out);
    const GraphWeight& w = g_.weights[op.weight];
    if (w.shape.empty() || at(op.x).rows != out.rows) return "linear's rows";
    const uint64_t rows = w.shape[0];
    if (rows == 0 || w.elements() != times(out.columns, at(op.x).columns)) return "linear's weight";
    if (rows != (op.transposed ? at(op.x).columns : out.columns)) return "linear's weight";
    if (op.bias >= 0 && !elements(op.bias, out.columns)) return "linear's bias";
    if (op.scale_weight >= 0 && !elements(op.scale_weight, out.columns)) return "linear's scale";
    if (op.y >= 0 && (!ready(op.y) || !same(op.y, op.out))) return "linear's multiply";
    if (op.z >= 0 && (!ready(op.z) || !same(op.z, op.out))) return "linear's residual";
    return nullptr;
  }

  const char* attention(const GraphOp& op) const {
    if (!numbers(op, 8, 0) || !ready(op.x) || !ready(op.y) || !ready(op.z)) return "attention";
    const uint64_t heads = u(op.numbers[3]), width = u(op.numbers[4]), groups = u(op.numbers[5]);
    if (heads == 0 || groups == 0 || width == 0) return "attention's heads";
    const GraphValue &q = at(op.x), &k = at(op.y), &v = at(op.z), &out = at(op.out);
    const int32_t values[] = {op.x, op.y, op.z};
    for (int i = 0; i < 3; ++i) {
      if (u(op.numbers[i]) + times(heads, width) > at(values[i]).columns)
        return "attention's columns";
    }
    if (out.rows != q.rows || out.columns != times(heads, width) || k.rows != v.rows)
      return "attention's size";
    const uint64_t kv_groups = op.numbers[6] ? 1 : groups;
    if (q.rows % groups || k.rows % kv_groups) return "attention's groups";
    const uint64_t lq = q.rows / groups, lk = k.rows / kv_groups;
    if (op.input >= 0 && (!input(op.input, true) || g_.inputs[op.input].elements != lk))
      return "attention's mask";
    if (op.weight >= 0) {
      if (!weight(op.weight) || g_.weights[op.weight].shape.size() != 2 ||
          g_.weights[op.weight].shape[1] != heads || op.buckets.size() != times(lq, lk)) {
        return "attention's bias";
      }
      for (int32_t b : op.buckets) {
        if (b < 0 || u(b) >= g_.weights[op.weight].shape[0]) return "attention's buckets";
      }
    }
    return nullptr;
  }

  const Graph& g_;
  std::vector<bool> made_;
};

}  // namespace

std::string check(const Graph& graph) { return Checker(graph).run(); }

std::string check_ids(const Graph& graph, const std::vector<InputData>& inputs, uint32_t batch) {
  for (const GraphOp& op : graph.ops) {
    if (op.kind != OpKind::kEmbedding && op.kind != OpKind::kLogLikelihood) continue;
    const GraphInput& input = graph.inputs[op.input];
    const bool label = op.kind == OpKind::kLogLikelihood;
    const int64_t most =
        label ? static_cast<int64_t>(graph.values[op.x].columns)
              : static_cast<int64_t>(graph.weights[op.weight].shape[0]) - op.numbers[0];
    const auto within = [&](int32_t id) { return id < most && (id >= 0 || label); };
    const auto wrong = [&](int32_t id) {
      return input.name + " holds the id " + std::to_string(id) + ", expected 0 to " +
             std::to_string(most - 1);
    };
    const InputData& data = inputs[op.input];
    for (uint32_t i = 0; data.rows && i < batch; ++i) {
      const IdRange& range = data.ids[data.rows[i]];
      if (!within(range.most)) return wrong(range.most);
      if (!within(range.least)) return wrong(range.least);
    }
    const uint64_t n = data.rows ? 0 : input.elements * (input.shared ? 1 : batch);
    for (uint64_t i = 0; i < n; ++i) {
      if (!within(data.integers[i])) return wrong(data.integers[i]);
    }
  }
  return "";
}

}  // namespace stockpot
