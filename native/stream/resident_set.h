#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "../backend/device.h"
#include "../executor/network.h"
#include "job.h"

namespace stockpot {

// Examples that stay on a device: a table an input, a row an example. A batch is made of them there
// (Device::gather). Methods throw DeviceError.
class ResidentSet {
 public:
  struct Table {
    uint64_t row_bytes;         // as they are given
    bool integers;              // int32; else float32, or bytes with `values`
    std::vector<float> values;  // [channels, 256]: bytes are looked up here
  };

  ResidentSet(std::shared_ptr<Device> device, uint64_t rows, std::vector<Table> tables);

  const std::shared_ptr<Device>& device() const { return device_; }
  const std::vector<Table>& tables() const { return tables_; }
  uint64_t rows() const { return rows_; }
  // The first rows, which are there.
  uint64_t filled() const { return filled_; }
  // Of a table of integers, a row.
  const IdRange* ids(size_t table) const { return ids_[table].data(); }

  // Puts these rows' first `elements` float32 or int32 to `to`.
  void gather(size_t table, const uint32_t* rows, uint32_t count, uint64_t elements, uint64_t to,
              uint32_t stream) const;

 private:
  friend class FillSetJob;
  std::shared_ptr<Device> device_;  // outlives what follows
  uint64_t rows_;
  std::vector<Table> tables_;
  std::vector<Device::Memory> memory_, values_;
  std::vector<std::vector<IdRange>> ids_;
  std::atomic<uint64_t> filled_{0};
};

// Copies the next rows there, through pinned buffers.
class FillSetJob : public Job {
 public:
  // data: of each table `rows` rows, which stay as they are until the job is over.
  FillSetJob(std::shared_ptr<ResidentSet> set, uint64_t rows, std::vector<const uint8_t*> data)
      : set_(std::move(set)), rows_(rows), data_(std::move(data)) {}

 protected:
  void work() override;

 private:
  std::shared_ptr<ResidentSet> set_;
  uint64_t rows_;
  std::vector<const uint8_t*> data_;
};

}  // namespace stockpot
