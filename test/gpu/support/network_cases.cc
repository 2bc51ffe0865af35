#include "network_cases.h"

namespace stockpot::test {
namespace {

using Linear = Builder::Linear;
using Attend = Builder::Attend;

void linears(std::vector<NetworkCase>* cases) {
  const char* names[] = {"none", "gelu", "gelu_tanh", "quick_gelu", "relu", "tanh", "silu"};
  for (int a = 0; a < 7; ++a) {
    // Each with another choice of what else is done.
    Builder b(std::string("linear, ") + names[a]);
    const int32_t x = b.tokens(5, 20);
    Linear l;
    l.activation = static_cast<Activation>(a);
    l.bias = a != 2;
    l.scale = a % 3 == 1;
    l.transposed = a % 2 == 1;
    if (a % 4 == 3 || a == 0) l.multiply = b.linear(x, 37);
    if (a % 4 >= 2) l.residual = b.linear(x, 37);
    cases->push_back(b.mean(b.linear(x, 37, l)));
  }
  Builder plain("linear, bias and residual");
  const int32_t x = plain.tokens(5, 24);
  Linear l;
  l.residual = x;
  cases->push_back(plain.mean(plain.linear(x, 24, l)));
  Builder gated("linear, its residual moved while a gate needs room");
  const int32_t y = gated.tokens(4, 16);
  Linear gate, up;
  gate.activation = Activation::kGelu;
  const int32_t other = gated.linear(y, 16);
  up.activation = Activation::kSilu;
  up.multiply = gated.linear(y, 16, gate);
  up.residual = other;
  cases->push_back(gated.mean(gated.linear(y, 16, up)));
}

void attentions(std::vector<NetworkCase>* cases) {
  const auto self = [&](const char* name, uint64_t rows, Attend a, int mask) {
    Builder b(name, 2);
    const int32_t x = b.tokens(rows, 24);
    if (mask) a.mask = b.mask(rows / static_cast<uint64_t>(a.groups), mask == 2);
    cases->push_back(b.mean(b.self_attention(x, a)));
  };
  Attend a;
  self("attention", 7, a, 0);
  self("attention, masked", 7, a, 1);
  a.causal = true;
  self("attention, causal, one mask for all", 7, a, 2);
  a = {};
  a.buckets = true;
  a.width = 16;
  self("attention, buckets", 6, a, 1);
  a = {};
  a.groups = 3;
  self("attention, groups", 12, a, 0);
  a = {};
  a.width = 12;
  self("attention, heads of 12 columns", 7, a, 1);
  a = {};
  a.heads = 1;
  a.width = 24;
  self("attention, longer than a tile", 70, a, 1);

  Builder cross("attention, keys of all groups, columns unused", 2);
  const int32_t q = cross.linear(cross.tokens(8, 24), 40),
                kv = cross.linear(cross.tokens(5, 24), 48);
  Attend c;
  c.groups = 2;
  c.shared_kv = true;
  c.q_column = 16;
  c.v_column = 32;
  c.mask = cross.mask(5);
  cases->push_back(cross.mean(cross.attention(q, kv, kv, c)));
}

}  // namespace

std::vector<NetworkCase> operation_cases() {
  std::vector<NetworkCase> cases;
  {
    Builder b("patches");
    cases.push_back(b.mean(b.linear(b.patches(3, 8, 4), 16)));
  }
  {
    Builder b("embedding, ids shared");
    cases.push_back(b.mean(b.embedding(b.ids(9, 7, true), b.weight({7, 20}, 1))));
  }
  {
    Builder b("add, add_rows, add_row");
    const int32_t x = b.tokens(5, 20);
    cases.push_back(b.mean(b.add(b.add_rows(x, 2, 1), b.add_row(b.norm(x), 1))));
  }
  {
    Builder b("add of one value twice");
    const int32_t x = b.tokens(5, 20);
    cases.push_back(b.mean(b.add(x, x)));
  }
  {
    Builder b("prepend_row, select_row");
    cases.push_back(b.done(b.unary(OpKind::kSelectRow, b.norm(b.prepend(b.tokens(4, 20))), {0})));
  }
  linears(&cases);
  {
    Builder b("rms_norm");
    cases.push_back(b.mean(b.norm(b.tokens(6, 36), true)));
  }
  attentions(&cases);
  for (int equal : {-1, 2}) {
    Builder b(equal < 0 ? "select_row_by_id, the largest" : "select_row_by_id, equal");
    const int32_t ids = b.ids(6, 4), x = b.norm(b.embedding(ids, b.weight({4, 20}, 1)));
    const int32_t out = b.unary(OpKind::kSelectRowById, b.add_rows(x, 0, 0), {equal});
    NetworkCase c = b.done(out);
    c.graph.ops.back().input = ids;
    cases.push_back(std::move(c));
  }
  {
    Builder b("mean_rows");
    cases.push_back(b.done(b.unary(OpKind::kMeanRows, b.tokens(6, 20), {2})));
  }
  for (bool power : {false, true}) {
    Builder b(power ? "l2_normalize, scale by a power" : "scale");
    const int32_t w = power ? b.weight({}, 0.5f, 1) : -1;
    const int32_t x = b.tokens(3, 20);
    const int32_t out = b.unary(OpKind::kScale, power ? b.unary(OpKind::kL2Normalize, x) : x);
    NetworkCase c = b.mean(out);
    GraphOp& scale = c.graph.ops[c.graph.ops.size() - 2];
    scale.number = 1.5f;
    scale.scale_weight = w;
    cases.push_back(std::move(c));
  }
  {
    Builder b("similarity");
    const int32_t features = b.input(6 * 20, true), x = b.tokens(1, 20);
    const int32_t out = b.value(1, 6);
    GraphOp& o = b.op(OpKind::kSimilarity, out);
    o.x = x;
    o.input = features;
    cases.push_back(b.done(out));
  }
  {
    Builder b("log_likelihood");
    MadeUp made_up;
    const int32_t labels =
        b.input(6, true, [&](uint64_t i) { return i == 2 ? -1 : made_up.below(30); });
    const int32_t x = b.linear(b.tokens(6, 20), 30), out = b.value(1, 3);
    GraphOp& o = b.op(OpKind::kLogLikelihood, out);
    o.x = x;
    o.input = labels;
    o.numbers = {3};
    cases.push_back(b.done(out));
  }
  return cases;
}

std::vector<NetworkCase> network_cases() {
  std::vector<NetworkCase> cases;
  {
    Builder b("a vision transformer");
    int32_t x = b.add_rows(b.prepend(b.linear(b.patches(3, 12, 4), 32)), 0, 0);
    Attend a;
    a.width = 16;
    for (int i = 0; i < 3; ++i) x = b.layer(x, a, Activation::kGelu, i == 1);
    cases.push_back(b.done(b.linear(b.unary(OpKind::kSelectRow, b.norm(x), {0}), 5)));
  }
  {
    Builder b("CLIP's image tower and its classes' features");
    int32_t x = b.norm(b.add_rows(b.prepend(b.linear(b.patches(3, 8, 4), 24)), 0, 0));
    Attend a;
    a.heads = 3;
    for (int i = 0; i < 2; ++i) x = b.layer(x, a, Activation::kQuickGelu);
    Linear project;
    project.bias = false;
    x = b.linear(b.unary(OpKind::kSelectRow, x, {0}), 16, project);
    const int32_t features = b.input(4 * 16, true), power = b.weight({}, 0.1f, 2);
    const int32_t unit = b.unary(OpKind::kL2Normalize, x), alike = b.value(1, 4);
    GraphOp& o = b.op(OpKind::kSimilarity, alike);
    o.x = unit;
    o.input = features;
    const int32_t out = b.unary(OpKind::kScale, alike);
    NetworkCase c = b.done(out);
    c.graph.ops.back().number = 1;
    c.graph.ops.back().scale_weight = power;
    cases.push_back(std::move(c));
  }
  {
    Builder b("CLIP's text tower");
    const int32_t ids = b.ids(6, 9);
    int32_t x = b.add_rows(b.embedding(ids, b.weight({9, 16}, 1)), 0, 0);
    Attend a;
    a.causal = true;
    for (int i = 0; i < 2; ++i) x = b.layer(x, a, Activation::kQuickGelu);
    NetworkCase c = b.done(b.unary(OpKind::kSelectRowById, b.norm(x), {-1}));
    c.graph.ops.back().input = ids;
    cases.push_back(std::move(c));
  }
  {
    Builder b("BERT, norms last");
    int32_t x = b.embedding(b.ids(7, 13), b.weight({13, 16}, 1));
    x = b.norm(b.add_rows(b.add_row(x, 0), 0, 3));
    Attend a;
    a.mask = b.mask(7);
    for (int i = 0; i < 2; ++i) {
      Linear out, up, down;
      out.residual = x;
      x = b.norm(b.linear(b.self_attention(x, a), 16, out));
      up.activation = Activation::kGelu;
      down.residual = x;
      x = b.norm(b.linear(b.linear(x, 32, up), 16, down));
    }
    Linear pooler;
    pooler.activation = Activation::kTanh;
    x = b.linear(b.unary(OpKind::kSelectRow, x, {0}), 16, pooler);
    cases.push_back(b.done(b.linear(x, 3)));
  }
  {
    Builder b("T5, tied embeddings, two classes of three words");
    const int32_t table = b.weight({19, 16}, 1), mask = b.mask(5);
    MadeUp made_up;
    const int32_t labels =
        b.input(6, true, [&](uint64_t i) { return i == 5 ? -1 : made_up.below(19); });
    const int32_t words = b.input(6, true, [&](uint64_t) { return made_up.below(19); });
    Linear bare, relu;
    bare.bias = relu.bias = false;
    relu.activation = Activation::kRelu;
    const auto feed_forward = [&](int32_t x, bool gated) {
      const int32_t y = b.norm(x, true);
      Linear down = bare, up = relu;
      if (gated) {
        up.activation = Activation::kGeluTanh;
        up.multiply = b.linear(y, 32, bare);
      }
      down.residual = x;
      return b.linear(b.linear(y, 32, up), 16, down);
    };
    const auto attend = [&](int32_t x, int32_t y, const Attend& a) {
      const int32_t n = b.norm(x, true), from = y < 0 ? n : y;
      const int32_t q = b.linear(n, 16, bare), k = b.linear(from, 16, bare),
                    v = b.linear(from, 16, bare);
      Linear out = bare;
      out.residual = x;
      return b.linear(b.attention(q, k, v, a), 16, out);
    };
    Attend self;
    self.mask = mask;
    self.buckets = true;
    int32_t x = b.embedding(b.ids(5, 19), table);
    x = feed_forward(attend(x, -1, self), true);
    const int32_t encoded = b.norm(x, true);
    Attend causal, cross;
    causal.groups = cross.groups = 2;
    causal.causal = causal.buckets = true;
    cross.shared_kv = true;
    cross.mask = mask;
    int32_t y = b.embedding(words, table);
    y = feed_forward(attend(attend(y, -1, causal), encoded, cross), false);
    y = b.unary(OpKind::kScale, b.norm(y, true));
    Linear tied = bare;
    tied.weight = table;
    y = b.linear(y, 19, tied);
    const int32_t out = b.value(1, 2);
    GraphOp& o = b.op(OpKind::kLogLikelihood, out);
    o.x = y;
    o.input = labels;
    o.numbers = {2};
    NetworkCase c = b.done(out);
    for (GraphOp& op : c.graph.ops) {
      if (op.kind == OpKind::kScale) op.number = 0.25f;
    }
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace stockpot::test
