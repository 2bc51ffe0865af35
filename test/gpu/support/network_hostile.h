#pragma once
// Specs of networks that must be refused.
#include "network_run.h"

namespace stockpot::test {

// A spec with one thing wrong, and what must be said of it.
struct HostileSpec {
  FlatGraph flat;
  std::function<void(FlatGraph&, stockpot_network_spec&)> spoil;
  const char* words;

  stockpot_network_spec spec() const {
    static FlatGraph spoiled = flat;
    spoiled = flat;
    stockpot_network_spec s = spoiled.spec(STOCKPOT_NUMBER_BF16, 2, true);
    spoil(spoiled, s);
    return s;
  }
};

inline std::vector<HostileSpec> hostile_specs(const Graph& graph) {
  const FlatGraph flat(graph);
  const auto op_of = [](FlatGraph& f, OpKind kind) -> stockpot_graph_op& {
    for (stockpot_graph_op& op : f.ops) {
      if (op.kind == static_cast<uint32_t>(kind)) return op;
    }
    return f.ops.back();
  };
  std::vector<HostileSpec> all;
  const auto add = [&](const char* words,
                       std::function<void(FlatGraph&, stockpot_network_spec&)> spoil) {
    all.push_back({flat, std::move(spoil), words});
  };
  using S = stockpot_network_spec;
  add("another version", [](FlatGraph&, S& s) { s.size = 8; });
  add("number is unknown", [](FlatGraph&, S& s) { s.number = 3; });
  add("largest batch", [](FlatGraph&, S& s) { s.largest_batch = 0; });
  add("largest batch", [](FlatGraph&, S& s) { s.largest_batch = UINT32_MAX; });
  add("too many parts", [](FlatGraph&, S& s) { s.op_count = UINT32_MAX; });
  add("a table of the network is missing", [](FlatGraph&, S& s) { s.ops = nullptr; });
  add("more than 8 dimensions", [](FlatGraph& f, S&) { f.weights[0].dimensions = 9; });
  add("has no elements", [](FlatGraph& f, S&) { f.weights[0].shape[1] = 0; });
  add("a weight's size",
      [](FlatGraph& f, S&) { f.weights[0].shape[0] = f.weights[0].shape[1] = uint64_t{1} << 32; });
  add("a value's size", [](FlatGraph& f, S&) { f.values[0].rows = UINT64_MAX; });
  add("unknown kind", [](FlatGraph& f, S&) { f.ops[0].kind = 17; });
  add("unknown activation", [](FlatGraph& f, S&) { f.ops[0].activation = 7; });
  add("more than 8 numbers", [](FlatGraph& f, S&) { f.ops[0].number_count = 9; });
  add("buckets beyond", [](FlatGraph& f, S&) { f.ops[0].first_bucket = UINT32_MAX; });
  add("out is made twice", [](FlatGraph& f, S&) { f.ops[1].out = f.ops[0].out; });
  add("the output", [](FlatGraph&, S& s) { s.output = -1; });
  add("heads 4 wide", [op_of](FlatGraph& f, S&) {
    stockpot_graph_op& op = op_of(f, OpKind::kAttention);
    op.numbers[3] *= 2;
    op.numbers[4] /= 2;
    f.weights[op.weight].shape[1] *= 2;
  });
  return all;
}

// A graph's tables with a few numbers replaced.
class Mutated {
 public:
  Mutated(const Graph& graph, uint32_t seed) : flat_(graph), state_(seed * 2654435761u + 1) {
    const uint32_t count = 1 + next() % 3;
    for (uint32_t i = 0; i < count; ++i) mutate();
  }
  stockpot_network_spec spec() const {
    stockpot_network_spec s = flat_.spec(state_ % 3, 1 + state_ % 5, state_ % 2);
    s.activation_bytes = state_ % 7 == 0;
    return s;
  }

 private:
  uint32_t next() {
    state_ = state_ * 1664525u + 1013904223u;
    return state_ >> 8;
  }
  template <class T>
  void replace(std::vector<T>* table) {
    if (table->empty()) return;
    const size_t words = table->size() * sizeof(T) / 4;
    uint32_t* at = reinterpret_cast<uint32_t*>(table->data()) + next() % words;
    const uint32_t kinds[] = {0u, 1u, *at + 1, *at - 1, ~0u, 1u << 31, next() % 64, *at << 8};
    *at = kinds[next() % 8];
  }
  void mutate() {
    switch (next() % 8) {
      case 0:
        return replace(&flat_.inputs);
      case 1:
        return replace(&flat_.weights);
      case 2:
        return replace(&flat_.values);
      case 3:
        return replace(&flat_.buckets);
      default:
        return replace(&flat_.ops);
    }
  }

  FlatGraph flat_;
  uint32_t state_;
};

}  // namespace stockpot::test
