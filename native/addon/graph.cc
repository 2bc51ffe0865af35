#include "graph.h"

#include <cmath>
#include <map>
#include <string>

#include "values.h"

namespace stockpot {
namespace {

// Reads one operation or table of lib/models/graph.ts.
class Reader {
 public:
  Reader(Napi::Env env, const Napi::Value& v) : env_(env), object_(check(env, v)) {}

  std::string text(const char* field) const {
    const Napi::Value v = object_.Get(field);
    if (!v.IsString()) fail(env_, std::string(field) + " must be a string");
    return v.As<Napi::String>().Utf8Value();
  }
  // `otherwise` where the field is absent or null.
  double number(const char* field, double otherwise) const {
    const Napi::Value v = object_.Get(field);
    if (v.IsUndefined() || v.IsNull()) return otherwise;
    if (v.IsBoolean()) return v.As<Napi::Boolean>().Value() ? 1 : 0;
    if (!v.IsNumber()) fail(env_, std::string(field) + " must be a number");
    return v.As<Napi::Number>().DoubleValue();
  }
  int64_t integer(const char* field, double otherwise = NAN) const {
    const double d = number(field, otherwise);
    if (!(std::fabs(d) <= 9007199254740992.0) || d != std::floor(d)) {
      fail(env_, std::string(field) + " must be an integer");
    }
    return static_cast<int64_t>(d);
  }
  int32_t index(const char* field) const {
    const int64_t i = integer(field, -1);
    if (i < -1 || i > INT32_MAX) fail(env_, std::string(field) + " is out of range");
    return static_cast<int32_t>(i);
  }
  std::vector<uint64_t> sizes(const char* field) const {
    std::vector<uint64_t> out;
    for (double d : numbers(field)) {
      if (!(d >= 0 && d <= 1e12) || d != std::floor(d))
        fail(env_, std::string(field) + " is out of range");
      out.push_back(static_cast<uint64_t>(d));
    }
    return out;
  }
  std::vector<double> numbers(const char* field) const {
    const Napi::Value v = object_.Get(field);
    if (!v.IsArray()) fail(env_, std::string(field) + " must be an array");
    const auto list = v.As<Napi::Array>();
    std::vector<double> out(list.Length());
    for (uint32_t i = 0; i < out.size(); ++i) out[i] = list.Get(i).ToNumber().DoubleValue();
    return out;
  }
  Napi::Value get(const char* field) const { return object_.Get(field); }

 private:
  static Napi::Object check(Napi::Env env, const Napi::Value& v) {
    if (!v.IsObject()) fail(env, "an object is expected");
    return v.As<Napi::Object>();
  }
  Napi::Env env_;
  Napi::Object object_;
};

Napi::Array list_of(Napi::Env env, const Reader& r, const char* field) {
  const Napi::Value v = r.get(field);
  if (!v.IsArray()) fail(env, std::string(field) + " must be an array");
  return v.As<Napi::Array>();
}

Activation activation_named(Napi::Env env, const std::string& name) {
  static const std::map<std::string, Activation> kNames = {
      {"none", Activation::kNone},          {"gelu", Activation::kGelu},
      {"gelu_tanh", Activation::kGeluTanh}, {"quick_gelu", Activation::kQuickGelu},
      {"relu", Activation::kRelu},          {"tanh", Activation::kTanh},
      {"silu", Activation::kSilu}};
  const auto found = kNames.find(name);
  if (found == kNames.end()) fail(env, "no activation " + name);
  return found->second;
}

GraphOp read_op(Napi::Env env, const Napi::Value& v) {
  const Reader r(env, v);
  const std::string name = r.text("op");
  GraphOp op{};
  op.out = r.index("out");
  op.x = r.index("x");
  op.input = r.index("input");
  const auto numbers = [&](std::initializer_list<const char*> fields) {
    for (const char* f : fields) op.numbers.push_back(r.integer(f));
  };
  if (name == "patches") {
    op.kind = OpKind::kPatches;
    numbers({"channels", "height", "width", "patch"});
  } else if (name == "embedding") {
    op.kind = OpKind::kEmbedding;
    op.weight = r.index("table");
    op.numbers = {0};
  } else if (name == "add_rows" || name == "add_row") {
    op.kind = name == "add_rows" ? OpKind::kAddRows : OpKind::kAddRow;
    op.weight = r.index("table");
    numbers({name == "add_rows" ? "first" : "row"});
  } else if (name == "add") {
    op.kind = OpKind::kAdd;
    op.x = r.index("a");
    op.y = r.index("b");
  } else if (name == "prepend_row") {
    op.kind = OpKind::kPrependRow;
    op.weight = r.index("row");
  } else if (name == "linear") {
    op.kind = OpKind::kLinear;
    op.weight = r.index("weight");
    op.bias = r.index("bias");
    op.scale_weight = r.index("scale");
    op.y = r.index("multiply");
    op.z = r.index("residual");
    op.activation = activation_named(env, r.text("activation"));
    op.transposed = r.integer("transposed", 0) != 0;
  } else if (name == "layer_norm" || name == "rms_norm") {
    op.kind = name == "layer_norm" ? OpKind::kLayerNorm : OpKind::kRmsNorm;
    op.weight = r.index("weight");
    op.bias = r.index("bias");
    op.number = static_cast<float>(r.number("epsilon", 0));
  } else if (name == "attention") {
    op.kind = OpKind::kAttention;
    op.x = r.index("q");
    op.y = r.index("k");
    op.z = r.index("v");
    op.input = r.index("mask");
    op.number = static_cast<float>(r.number("scale", 1));
    numbers(
        {"q_column", "k_column", "v_column", "heads", "width", "groups", "shared_kv", "causal"});
    if (r.get("bias").IsObject()) {
      const Reader bias(env, r.get("bias"));
      op.weight = bias.index("table");
      for (double b : bias.numbers("buckets")) {
        if (!(b >= 0 && b <= INT32_MAX)) fail(env, "buckets are out of range");
        op.buckets.push_back(static_cast<int32_t>(b));
      }
    }
  } else if (name == "select_row") {
    op.kind = OpKind::kSelectRow;
    numbers({"index"});
  } else if (name == "select_row_by_id") {
    op.kind = OpKind::kSelectRowById;
    op.numbers = {r.integer("equal", -1)};
  } else if (name == "mean_rows") {
    op.kind = OpKind::kMeanRows;
    numbers({"from"});
  } else if (name == "l2_normalize") {
    op.kind = OpKind::kL2Normalize;
  } else if (name == "scale") {
    op.kind = OpKind::kScale;
    op.number = static_cast<float>(r.number("by", 1));
    op.scale_weight = r.index("exp");
  } else if (name == "similarity") {
    op.kind = OpKind::kSimilarity;
  } else if (name == "log_likelihood") {
    op.kind = OpKind::kLogLikelihood;
    numbers({"classes"});
  } else {
    fail(env, "no operation " + name);
  }
  return op;
}

}  // namespace

Graph read_graph(Napi::Env env, const Napi::Value& v) {
  const Reader r(env, v);
  Graph graph;
  const Napi::Array inputs = list_of(env, r, "inputs"), weights = list_of(env, r, "weights"),
                    values = list_of(env, r, "values"), ops = list_of(env, r, "ops");
  for (uint32_t i = 0; i < inputs.Length(); ++i) {
    const Reader input(env, inputs.Get(i));
    graph.inputs.push_back({input.text("name"), input.text("dtype") == "i32",
                            product(input.sizes("shape")), input.integer("shared") != 0});
  }
  for (uint32_t i = 0; i < weights.Length(); ++i) {
    graph.weights.push_back({Reader(env, weights.Get(i)).sizes("shape")});
  }
  for (uint32_t i = 0; i < values.Length(); ++i) {
    const Reader value(env, values.Get(i));
    graph.values.push_back({static_cast<uint64_t>(value.integer("rows")),
                            static_cast<uint64_t>(value.integer("columns"))});
  }
  for (uint32_t i = 0; i < ops.Length(); ++i) graph.ops.push_back(read_op(env, ops.Get(i)));
  graph.output = r.index("output");
  const std::string wrong = check(graph);
  if (!wrong.empty()) fail(env, "the graph does not fit together: " + wrong);
  return graph;
}

}  // namespace stockpot
