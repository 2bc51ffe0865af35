#include "network_run.h"

#include <algorithm>
#include <cstring>

#include "../../../native/executor/executor.h"
#include "../../../native/kernels/plain/convert.h"

namespace stockpot::test {
namespace {

DType dtype_of(uint32_t number) {
  return number == STOCKPOT_NUMBER_F32    ? DType::kF32
         : number == STOCKPOT_NUMBER_BF16 ? DType::kBF16
                                          : DType::kF16;
}

std::vector<uint8_t> converted(const std::vector<float>& from, DType to) {
  const size_t size = byte_size(to);
  std::vector<uint8_t> bytes(from.size() * size);
  for (size_t i = 0; i < from.size(); ++i) {
    bool overflow = false;
    const uint64_t bits = plain::round_to(to, static_cast<double>(from[i]), &overflow);
    std::memcpy(bytes.data() + i * size, &bits, size);
  }
  return bytes;
}

// Which weights a device stores in the network's number: matrices and tables.
std::vector<bool> matrices(const Graph& graph) {
  std::vector<bool> is(graph.weights.size(), false);
  for (const GraphOp& op : graph.ops) {
    if (op.weight >= 0 && op.kind != OpKind::kLayerNorm && op.kind != OpKind::kRmsNorm &&
        op.kind != OpKind::kAttention) {
      is[static_cast<size_t>(op.weight)] = true;
    }
  }
  return is;
}

uint64_t most(uint64_t n) { return std::max<uint64_t>(n, 1); }

}  // namespace

std::vector<float> made_up_dout(const NetworkCase& c) {
  MadeUp made_up;
  std::vector<float> d(c.graph.values[c.graph.output].size() * c.batch);
  for (float& v : d) v = made_up.next();
  return d;
}

Found on_processor(const NetworkCase& c, uint32_t number, uint64_t size) {
  Executor executor(c.graph, plan_training_within(c.graph, size), c.batch, 1, network_ops());
  const std::vector<bool> matrix = matrices(c.graph);
  for (size_t w = 0; w < c.weights.size(); ++w) {
    const DType type = matrix[w] ? dtype_of(number) : DType::kF32;
    executor.set_weight(static_cast<int32_t>(w), 0, c.weights[w].size(), type,
                        converted(c.weights[w], type).data());
  }
  std::vector<InputData> inputs;
  for (size_t i = 0; i < c.floats.size(); ++i)
    inputs.push_back({c.floats[i].data(), c.integers[i].data()});
  Found found;
  found.out.resize(c.graph.values[c.graph.output].size() * c.batch);
  const auto never = [] { return false; };
  std::string wrong = executor.run(inputs, c.batch, found.out.data(), never);
  if (wrong.empty()) wrong = executor.backward(inputs, c.batch, made_up_dout(c).data(), never);
  if (!wrong.empty()) std::printf("%s on the processor: %s\n", c.name.c_str(), wrong.c_str());
  for (size_t w = 0; w < c.weights.size(); ++w) {
    found.gradients.push_back(executor.copy_gradient(static_cast<int32_t>(w)));
  }
  for (size_t i = 0; i < c.floats.size(); ++i) {
    std::vector<float> g = executor.copy_input_gradient(static_cast<int32_t>(i));
    if (!g.empty()) found.gradients.push_back(std::move(g));
  }
  return found;
}

OnDevice::OnDevice(Device& device, const NetworkCase& c, uint32_t number, uint32_t largest_batch,
                   bool training, uint64_t activation_bytes)
    : device_(device), case_(c) {
  const GraphTables tables(c.graph);
  network_ =
      Device::Network(device, tables.spec(number, largest_batch, training, activation_bytes));
  set_weights(c);
  for (size_t i = 0; i < c.floats.size(); ++i) {
    const void* from =
        c.floats[i].empty() ? static_cast<const void*>(c.integers[i].data()) : c.floats[i].data();
    const uint64_t bytes = 4 * (c.floats[i].size() + c.integers[i].size());
    data_.emplace_back(device, most(bytes));
    device.copy_in(STOCKPOT_COMPUTE, data_.back().address(), from, bytes);
    how_.push_back({});
    how_.back().data = data_.back().address();
  }
  const std::vector<float> dout = made_up_dout(c);
  out_ = Device::Memory(device, dout.size() * 4);
  dout_ = Device::Memory(device, dout.size() * 4);
  set_dout(dout);
}

void OnDevice::set_weights(const NetworkCase& c) {
  for (uint32_t w = 0; w < c.weights.size(); ++w) {
    const auto [address, dtype] = network_.weight(w);
    const std::vector<uint8_t> bytes = converted(c.weights[w], dtype);
    device_.copy_in(STOCKPOT_COMPUTE, address, bytes.data(), bytes.size());
    device_.synchronize();
  }
}

void OnDevice::set_floats(const std::vector<std::vector<float>>& floats) {
  for (size_t i = 0; i < floats.size(); ++i)
    device_.copy_in(STOCKPOT_COMPUTE, how_[i].data, floats[i].data(), floats[i].size() * 4);
  device_.synchronize();
}

void OnDevice::set_dout(const std::vector<float>& dout) {
  device_.copy_in(STOCKPOT_COMPUTE, dout_.address(), dout.data(), dout.size() * 4);
  device_.synchronize();
}

void OnDevice::move_output() {
  const uint64_t bytes = case_.graph.values[case_.graph.output].size() * case_.batch * 4;
  before_ = std::move(out_);  // which stays, so that the new place is another
  out_ = Device::Memory(device_, bytes);
}

void OnDevice::give_bytes(int32_t input, const std::vector<uint8_t>& bytes,
                          const stockpot_network_input& how) {
  Device::Memory memory(device_, bytes.size());
  device_.copy_in(STOCKPOT_COMPUTE, memory.address(), bytes.data(), bytes.size());
  device_.synchronize();
  how_[static_cast<size_t>(input)] = how;
  how_[static_cast<size_t>(input)].data = memory.address();
  data_[static_cast<size_t>(input)] = std::move(memory);
}

const stockpot_network_input* OnDevice::inputs_of(uint32_t first) {
  inputs_ = how_;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const GraphInput& input = case_.graph.inputs[i];
    if (!input.shared) inputs_[i].data += first * input.elements * (how_[i].bytes ? 1 : 4);
  }
  return inputs_.data();
}

void OnDevice::forward(uint32_t first, uint32_t batch, uint32_t stream) {
  network_.forward(inputs_of(first), batch, out_.address(), stream);
}

void OnDevice::backward(uint32_t first, uint32_t batch, uint32_t stream) {
  const uint64_t row = case_.graph.values[case_.graph.output].size() * 4;
  network_.backward(inputs_of(first), batch, dout_.address() + first * row, stream);
}

std::vector<float> OnDevice::fetch(uint64_t from, uint64_t n) const {
  std::vector<float> to(n);
  device_.synchronize();
  device_.copy_out(STOCKPOT_COMPUTE, to.data(), from, n * 4);
  device_.synchronize();
  return to;
}

std::vector<float> OnDevice::out(uint32_t batch) const {
  return fetch(out_.address(), case_.graph.values[case_.graph.output].size() * batch);
}

std::vector<std::vector<float>> OnDevice::gradients() const {
  std::vector<std::vector<float>> all;
  for (uint32_t w = 0; w < case_.weights.size(); ++w)
    all.push_back(fetch(network_.gradient(w), case_.weights[w].size()));
  for (uint32_t i = 0; i < case_.floats.size(); ++i) {
    const uint64_t at = network_.input_gradient(i);
    if (at) all.push_back(fetch(at, case_.floats[i].size()));
  }
  return all;
}

Found OnDevice::run() {
  Found found;
  network_.zero_gradients(STOCKPOT_COMPUTE);
  forward(0, case_.batch);
  found.out = out(case_.batch);
  backward(0, case_.batch);
  found.gradients = gradients();
  return found;
}

}  // namespace stockpot::test
