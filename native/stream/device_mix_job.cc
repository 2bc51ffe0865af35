#include "device_mix_job.h"

#include <algorithm>

#include "../backend/plan_tables.h"

namespace stockpot {

DevicePassPlan DeviceMixJob::pass_of(const MergePlan& plan) {
  DevicePassPlan pass;
  pass.files = plan.files;
  pass.k = plan.k;
  for (const Segment& s : plan.segments) pass.elements.push_back(s.elements);
  pass.sources = plan.sources;  // their views are merge_'s
  pass.threads = plan.threads;
  pass.memory = plan.memory / 3;
  return pass;
}

DeviceMixJob::DeviceMixJob(std::shared_ptr<DeviceNetwork> network, std::vector<int32_t> weights,
                           MergePlan plan)
    : DevicePass(network->device(), pass_of(plan)),
      network_(std::move(network)),
      merge_(std::move(plan)) {
  for (int32_t w : weights) places_.push_back(network_->weight(w));
}

void DeviceMixJob::begin(size_t pieces) {
  pieces_ = pieces;
  const uint64_t bytes = 2 * pieces * sizeof(stockpot_mean_report);
  reports_ = Device::Memory(device(), std::max<uint64_t>(bytes, 1));
  device().fill_zero(STOCKPOT_COMPUTE, reports_.address(), bytes);
  // Only where some weight has another type than the soup.
  uint64_t scratch = 0;
  for (size_t s = 0; s < places_.size(); ++s) {
    const Segment& segment = merge_.segments[s];
    if (segment.out_dtype != places_[s].dtype)
      scratch += (segment.elements * byte_size(segment.out_dtype) + 255) / 256 * 256 +
                 segment.elements / kPiece * 256;
  }
  const uint64_t most = kMostScratch + kPiece * sizeof(double);
  if (scratch) scratch_ = Device::Memory(device(), std::min(scratch, most));
}

uint64_t DeviceMixJob::scratch_of(const Piece& piece) const {
  const DType type = merge_.segments[piece.segment].out_dtype;
  if (type == places_[piece.segment].dtype) return 0;
  return (piece.count * byte_size(type) + 255) / 256 * 256;
}

void DeviceMixJob::start(const std::vector<Piece>& pieces, std::vector<Device::Plan>* plans) {
  PlanTables means, casts;
  uint64_t scratch = scratch_.address();
  for (const Piece& piece : pieces) {
    const Segment& segment = merge_.segments[piece.segment];
    const Device::Network::Weight& place = places_[piece.segment];
    const uint64_t to = place.address + piece.first * byte_size(place.dtype);
    stockpot_tensor t{};
    t.elements = piece.count;
    t.first_input = static_cast<uint32_t>(means.inputs.size());
    t.inputs = static_cast<uint32_t>(piece.inputs.size());
    t.weights = segment.weight_set < 0 ? -1 : static_cast<int32_t>(means.weights.size());
    t.out = to;
    t.out_dtype = static_cast<uint32_t>(segment.out_dtype);
    means.inputs.insert(means.inputs.end(), piece.inputs.begin(), piece.inputs.end());
    if (segment.weight_set >= 0) {
      for (uint32_t i : piece.positions)
        means.weights.push_back(merge_.weights[size_t(segment.weight_set) * merge_.k + i]);
    }
    if (segment.out_dtype != place.dtype) {
      // Rounded to the soup's type, and from there to the network's.
      t.out = scratch;
      stockpot_tensor cast{};
      cast.elements = piece.count;
      cast.first_input = static_cast<uint32_t>(casts.inputs.size());
      cast.inputs = 1;
      cast.weights = -1;
      cast.out = to;
      cast.out_dtype = static_cast<uint32_t>(place.dtype);
      casts.tensors.push_back(cast);
      casts.inputs.push_back({scratch, t.out_dtype, 0});
      scratch += scratch_of(piece);
    }
    means.tensors.push_back(t);
  }
  const uint64_t each = sizeof(stockpot_mean_report);
  plans->emplace_back(device(), means.spec(STOCKPOT_MEAN, reports_.address() + started_ * each));
  plans->back().run(nullptr, STOCKPOT_COMPUTE);
  if (!casts.tensors.empty()) {
    const uint64_t reports = reports_.address() + (pieces_ + started_) * each;
    plans->emplace_back(device(), casts.spec(STOCKPOT_MEAN, reports));
    plans->back().run(nullptr, STOCKPOT_COMPUTE);
  }
  started_ += pieces.size();
}

void DeviceMixJob::finish() {
  std::vector<stockpot_mean_report> reports(pieces_);
  device().copy_out(STOCKPOT_COMPUTE, reports.data(), reports_.address(),
                    pieces_ * sizeof(stockpot_mean_report));
  const Device::Event done(device());
  done.record(STOCKPOT_COMPUTE);
  done.wait();
  doubtful_ = std::any_of(reports.begin(), reports.end(),
                          [](const stockpot_mean_report& r) { return r.nonfinite || r.overflows; });
}

void DeviceMixJob::afterwards() {
  if (!doubtful_) return;
  merge_.sink = SinkKind::kDiscard;
  merge_.consume = nullptr;
  const auto check = std::make_shared<MergeJob>(std::move(merge_));
  {
    const std::lock_guard<std::mutex> lock(checking_mutex_);
    checking_ = check;
  }
  if (stopping()) return;
  check->run();
  if (check->error().kind != JobError::Kind::kNone) return fail(check->error());
  findings_ = check->findings();
}

void DeviceMixJob::stop_others() {
  const std::lock_guard<std::mutex> lock(checking_mutex_);
  if (checking_) checking_->abort();
}

}  // namespace stockpot
