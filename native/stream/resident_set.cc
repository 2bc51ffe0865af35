#include "resident_set.h"

#include <algorithm>
#include <cstring>

#include "budget.h"
#include "upload_ring.h"

namespace stockpot {
namespace {

constexpr size_t kSlots = 2;
constexpr uint64_t kSlotBytes = 4 << 20;

IdRange range_of(const uint8_t* row, uint64_t bytes) {
  IdRange range{INT32_MAX, INT32_MIN};
  for (uint64_t at = 0; at < bytes; at += sizeof(int32_t)) {
    int32_t id;
    std::memcpy(&id, row + at, sizeof(id));
    range.least = std::min(range.least, id);
    range.most = std::max(range.most, id);
  }
  return range;
}

}  // namespace

ResidentSet::ResidentSet(std::shared_ptr<Device> device, uint64_t rows, std::vector<Table> tables)
    : device_(std::move(device)), rows_(rows), tables_(std::move(tables)) {
  const Settle settle{*device_};
  for (const Table& t : tables_) {
    memory_.emplace_back(*device_, rows * t.row_bytes);
    ids_.emplace_back(t.integers ? rows : 0);
    values_.emplace_back();
    const uint64_t bytes = t.values.size() * sizeof(float);
    if (bytes == 0) continue;
    values_.back() = Device::Memory(*device_, bytes);
    device_->copy_in(STOCKPOT_COPY_IN, values_.back().address(), t.values.data(), bytes);
  }
}

void ResidentSet::gather(size_t table, const uint32_t* rows, uint32_t count, uint64_t elements,
                         uint64_t to, uint32_t stream) const {
  const Table& t = tables_[table];
  stockpot_gather g{};
  g.table = memory_[table].address();
  g.rows = filled_;
  g.stride = t.row_bytes;
  g.bytes = t.values.empty() ? elements * sizeof(float) : elements;
  g.values = t.values.empty() ? 0 : values_[table].address();
  g.channels = static_cast<uint32_t>(t.values.size() / 256);
  g.count = count;
  g.indices = rows;
  g.out = to;
  device_->gather(g, stream);
}

void FillSetJob::work() {
  const auto lease = ThreadBudget::process().take(1, [this] { return stopping(); });
  if (lease.threads() == 0) return;
  const uint64_t first = set_->filled();
  const std::function<bool()> stop = [this] { return stopping(); };
  try {
    Device& device = *set_->device();
    const Device::Event copied(device);
    UploadRing<Device> ring(device, STOCKPOT_COPY_IN, kSlots, kSlotBytes);
    for (size_t t = 0; t < data_.size(); ++t) {
      const ResidentSet::Table& table = set_->tables()[t];
      const uint64_t bytes = rows_ * table.row_bytes,
                     to = set_->memory_[t].address() + first * table.row_bytes;
      for (uint64_t r = 0; table.integers && r < rows_; ++r)
        set_->ids_[t][first + r] = range_of(data_[t] + r * table.row_bytes, table.row_bytes);
      for (uint64_t at = 0; at < bytes; at += kSlotBytes) {
        auto* slot = ring.take(stop);
        if (!slot) return;
        const uint64_t n = std::min(bytes - at, kSlotBytes);
        std::memcpy(slot->data(), data_[t] + at, n);
        ring.submit(slot, to + at, n, [] {});
      }
    }
    // Whatever runs on another stream afterwards finds them there.
    copied.record(STOCKPOT_COPY_IN);
    copied.wait();
    if (!stopping()) set_->filled_ = first + rows_;
  } catch (const DeviceError& e) {
    fail({JobError::Kind::kDevice, 0, -1, -1, -1, e.what()});
  }
}

}  // namespace stockpot
