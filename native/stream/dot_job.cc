#include "dot_job.h"

#include <algorithm>

#include "budget.h"
#include "file.h"

namespace stockpot {
namespace {
constexpr uint64_t kBlock = 1 << 15;  // elements
constexpr size_t kBlocksAhead = 32;   // asked of the system before they are read
}  // namespace

DotJob::DotJob(DotPlan plan) : plan_(std::move(plan)) {
  for (uint32_t s = 0; s < plan_.elements.size(); ++s) {
    for (uint64_t first = 0; first < plan_.elements[s]; first += kBlock)
      blocks_.push_back({s, first});
  }
}

void DotJob::work() {
  partial_.assign(blocks_.size() * plan_.k, 0);
  sums_.assign(plan_.elements.size() * plan_.k, 0);
  const auto lease = ThreadBudget::process().take(plan_.threads, [this] { return stopping(); });
  if (lease.threads() == 0) return;
  parallel(lease.threads(), [this](uint32_t) {
    SourceReader reader(plan_.files);
    Pages<uint8_t> buffer(kBlock * sizeof(double));
    for (size_t index; (index = next_.fetch_add(1)) < blocks_.size() && !stopping();)
      compute(reader, buffer, index);
  });
  for (size_t b = 0; b < blocks_.size(); ++b) {
    for (uint32_t i = 0; i < plan_.k; ++i)
      sums_[size_t{blocks_[b].segment} * plan_.k + i] += partial_[b * plan_.k + i];
  }
}

void DotJob::compute(SourceReader& reader, Pages<uint8_t>& buffer, size_t index) {
  const Block& block = blocks_[index];
  const uint64_t n = std::min(kBlock, plan_.elements[block.segment] - block.first);
  const float* vector = plan_.vectors[block.segment] + block.first;
  for (uint32_t i = 0; i < plan_.k && !stopping(); ++i) {
    const Source& source = plan_.sources[size_t{block.segment} * plan_.k + i];
    if (source.file < 0) continue;
    const size_t item = byte_size(source.dtype);
    const uint8_t* x = source.held + block.first * item;
    if (!source.held) {
      if (reader.waited() && index + kBlocksAhead < blocks_.size()) {
        const Block& ahead = blocks_[index + kBlocksAhead];
        const Source& s = plan_.sources[size_t{ahead.segment} * plan_.k + i];
        const uint64_t count = std::min(kBlock, plan_.elements[ahead.segment] - ahead.first);
        if (s.file >= 0 && !s.view)
          will_need(plan_.files[static_cast<size_t>(s.file)],
                    s.offset + ahead.first * byte_size(s.dtype), count * byte_size(s.dtype));
      }
      const int error = reader.read(source, block.first, n, buffer.data());
      if (error) {
        const bool is_short = error == kShortRead;
        return fail({is_short ? JobError::Kind::kShortRead : JobError::Kind::kRead,
                     is_short ? 0 : error, source.file, static_cast<int64_t>(block.segment), -1,
                     "read"});
      }
      x = buffer.data();
      bytes_read.fetch_add(n * item, std::memory_order_relaxed);
    }
    partial_[index * plan_.k + i] = plan_.kernel(source.dtype, x, vector, n);
  }
}

}  // namespace stockpot
