#pragma once
// Specs of networks that must be refused.
#include "network_run.h"

namespace stockpot::test {

// A network's tables, what makes one thing of them wrong, and what must be said of it.
struct HostileSpec {
  GraphTables tables;
  std::function<void(GraphTables&, stockpot_network_spec&)> spoil;
  const char* words;
};

inline std::vector<HostileSpec> hostile_specs(const Graph& graph) {
  const GraphTables tables(graph);
  std::vector<HostileSpec> all;
  const auto add = [&](const char* words,
                       std::function<void(GraphTables&, stockpot_network_spec&)> spoil) {
    all.push_back({tables, std::move(spoil), words});
  };
  using S = stockpot_network_spec;
  add("another version", [](GraphTables&, S& s) { s.size = 8; });
  add("number is unknown", [](GraphTables&, S& s) { s.number = 3; });
  add("largest batch", [](GraphTables&, S& s) { s.largest_batch = 0; });
  add("largest batch", [](GraphTables&, S& s) { s.largest_batch = UINT32_MAX; });
  add("too many parts", [](GraphTables&, S& s) { s.op_count = UINT32_MAX; });
  add("a table of the network is missing", [](GraphTables&, S& s) { s.ops = nullptr; });
  add("more than 8 dimensions", [](GraphTables& f, S&) { f.weights[0].dimensions = 9; });
  add("has no elements", [](GraphTables& f, S&) { f.weights[0].shape[1] = 0; });
  add("a weight's size", [](GraphTables& f, S&) {
    f.weights[0].shape[0] = f.weights[0].shape[1] = uint64_t{1} << 32;
  });
  add("a value's size", [](GraphTables& f, S&) { f.values[0].rows = UINT64_MAX; });
  add("unknown kind", [](GraphTables& f, S&) { f.ops[0].kind = 17; });
  add("unknown activation", [](GraphTables& f, S&) { f.ops[0].activation = 7; });
  add("more than 8 numbers", [](GraphTables& f, S&) { f.ops[0].number_count = 9; });
  add("buckets beyond", [](GraphTables& f, S&) { f.ops[0].first_bucket = UINT32_MAX; });
  add("out is made twice", [](GraphTables& f, S&) { f.ops[1].out = f.ops[0].out; });
  add("the output", [](GraphTables&, S& s) { s.output = -1; });
  const auto add_graph = [&](const char* words, const NetworkCase& c) {
    all.push_back({GraphTables(c.graph), [](GraphTables&, S&) {}, words});
  };
  Builder::Attend attend;
  {
    Builder b("wide");
    attend.heads = 1;
    attend.width = 257;
    add_graph("heads 257 wide", b.mean(b.self_attention(b.tokens(2, 8), attend)));
  }
  {
    Builder b("shared");
    attend.width = 8;
    const int32_t x = b.tokens(2, 8);
    add_graph("share columns", b.mean(b.attention(x, x, x, attend)));
  }
  {
    Builder b("beyond");
    NetworkCase c = b.mean(b.tokens(2, 8));
    c.graph.ops[0].numbers[0] = 11;
    add_graph("begins beyond its table", c);
  }
  {
    Builder b("both");
    NetworkCase c = b.mean(b.add_row(b.norm(b.tokens(2, 8)), 0));
    c.graph.ops[2].weight = c.graph.ops[1].weight;
    add_graph("both a matrix and a vector", c);
  }
  return all;
}

// A graph's tables with a few numbers replaced.
class Mutated {
 public:
  Mutated(const Graph& graph, uint32_t seed) : tables_(graph), state_(seed * 2654435761u + 1) {
    const uint32_t count = 1 + next() % 3;
    for (uint32_t i = 0; i < count; ++i) mutate();
  }
  stockpot_network_spec spec() const {
    return tables_.spec(state_ % 3, 1 + state_ % 5, state_ % 2, state_ % 7 == 0);
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
        return replace(&tables_.inputs);
      case 1:
        return replace(&tables_.weights);
      case 2:
        return replace(&tables_.values);
      case 3:
        return replace(&tables_.buckets);
      default:
        return replace(&tables_.ops);
    }
  }

  GraphTables tables_;
  uint32_t state_;
};

}  // namespace stockpot::test
