#include "network_dump.h"

#include <cstdio>
#include <memory>
#include <stdexcept>

#include "../../../native/backend/cuda/network_spec.h"

namespace stockpot::test {
namespace {

constexpr uint32_t kMagic = 0x31505453;  // "STP1", little-endian
constexpr uint32_t kMost = 1 << 24;      // entries of a table

class File {
 public:
  explicit File(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "rb")) {
    if (!file_) fail("does not open");
  }
  ~File() {
    if (file_) std::fclose(file_);
  }
  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error(path_ + " " + why);
  }
  template <class T>
  std::vector<T> table(uint64_t n) {
    std::vector<T> to(n);
    if (n && std::fread(to.data(), sizeof(T), n, file_) != n) fail("is cut off");
    return to;
  }
  uint32_t number() { return table<uint32_t>(1)[0]; }
  uint32_t count() {
    const uint32_t n = number();
    if (n > kMost) fail("is not what scripts/dump_network.mjs writes");
    return n;
  }

 private:
  std::string path_;
  FILE* file_;
};

}  // namespace

// u32 magic, batch, output; counts and then tables of inputs, weights, values, operations and
// buckets as the structs of native/backend/backend.h; float32 of each weight; float32 or int32 of
// each input; float32 of the output. Little-endian, without gaps.
DumpedNetwork read_dump(const std::string& folder) {
  File f(folder + "/network.bin");
  if (f.number() != kMagic) f.fail("is not what scripts/dump_network.mjs writes");
  DumpedNetwork d;
  NetworkCase& c = d.network;
  c.name = folder;
  c.batch = f.count();
  stockpot_network_spec spec{};
  spec.size = sizeof(spec);
  spec.largest_batch = c.batch;
  spec.output = static_cast<int32_t>(f.number());
  spec.input_count = f.count();
  spec.weight_count = f.count();
  spec.value_count = f.count();
  spec.op_count = f.count();
  spec.bucket_count = f.count();
  const auto inputs = f.table<stockpot_graph_input>(spec.input_count);
  const auto weights = f.table<stockpot_graph_weight>(spec.weight_count);
  const auto values = f.table<stockpot_graph_value>(spec.value_count);
  const auto ops = f.table<stockpot_graph_op>(spec.op_count);
  const auto buckets = f.table<int32_t>(spec.bucket_count);
  spec.inputs = inputs.data();
  spec.weights = weights.data();
  spec.values = values.data();
  spec.ops = ops.data();
  spec.buckets = buckets.data();
  const std::string wrong = cuda::read_graph(spec, &c.graph);
  if (!wrong.empty()) f.fail("holds no network: " + wrong);
  for (const GraphWeight& w : c.graph.weights) c.weights.push_back(f.table<float>(w.elements()));
  for (const GraphInput& i : c.graph.inputs) {
    const uint64_t n = i.elements * (i.shared ? 1 : c.batch);
    c.floats.push_back(f.table<float>(i.integers ? 0 : n));
    c.integers.push_back(f.table<int32_t>(i.integers ? n : 0));
  }
  d.expected = f.table<float>(c.graph.values[c.graph.output].size() * c.batch);
  return d;
}

}  // namespace stockpot::test
