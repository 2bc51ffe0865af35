#include "device_dot_job.h"

#include <algorithm>

#include "../backend/plan_tables.h"

namespace stockpot {

void DeviceDotJob::begin(size_t pieces) {
  sums_.assign(plan_.elements.size() * plan_.k, 0);
  result_ = Device::Memory(device(), std::max<size_t>(pieces * plan_.k, 1) * sizeof(double));
}

// A plan's tensors have the same number of inputs, so pieces of another number begin another plan.
void DeviceDotJob::start(const std::vector<Piece>& pieces, std::vector<Device::Plan>* plans) {
  for (size_t from = 0, to; from < pieces.size(); from = to) {
    const size_t inputs_each = pieces[from].inputs.size();
    PlanTables tables;
    for (to = from; to < pieces.size() && pieces[to].inputs.size() == inputs_each; ++to) {
      const Piece& piece = pieces[to];
      if (inputs_each == 0 || !vectors_[piece.segment]) continue;
      stockpot_tensor t{};
      t.elements = piece.count;
      t.first_input = static_cast<uint32_t>(tables.inputs.size());
      t.inputs = static_cast<uint32_t>(inputs_each);
      t.weights = -1;
      t.group = static_cast<uint32_t>(tables.tensors.size());
      t.other = vectors_[piece.segment] + piece.first * sizeof(float);
      t.other_dtype = static_cast<uint32_t>(DType::kF32);
      tables.inputs.insert(tables.inputs.end(), piece.inputs.begin(), piece.inputs.end());
      places_.push_back(
          {piece.segment, piece.positions, numbers_ + tables.tensors.size() * inputs_each});
      tables.tensors.push_back(t);
    }
    if (tables.tensors.empty()) continue;
    tables.groups = static_cast<uint32_t>(tables.tensors.size());
    const uint64_t result = result_.address() + numbers_ * sizeof(double);
    plans->emplace_back(device(), tables.spec(STOCKPOT_DOTS, result));
    plans->back().run(nullptr, STOCKPOT_COMPUTE);
    numbers_ += tables.tensors.size() * inputs_each;
  }
}

void DeviceDotJob::finish() {
  std::vector<double> numbers(numbers_);
  if (numbers_)
    device().copy_out(STOCKPOT_COMPUTE, numbers.data(), result_.address(),
                      numbers_ * sizeof(double));
  const Device::Event done(device());
  done.record(STOCKPOT_COMPUTE);
  done.wait();
  for (const Place& place : places_) {
    for (size_t i = 0; i < place.positions.size(); ++i)
      sums_[size_t{place.segment} * plan_.k + place.positions[i]] += numbers[place.first + i];
  }
}

}  // namespace stockpot
