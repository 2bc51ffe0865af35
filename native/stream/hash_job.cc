#include "hash_job.h"

#include <algorithm>

#include "../hash/sha256.h"
#include "budget.h"
#include "file.h"

namespace stockpot {
namespace {
constexpr size_t kBuffer = 256 << 10;
constexpr uint64_t kAhead = 8 << 20;
}  // namespace

void HashJob::work() {
  const auto lease = ThreadBudget::process().take(plan_.threads, [this] { return stopping(); });
  hashes_.resize(plan_.sources.size());
  if (lease.threads() == 0) return;
  parallel(lease.threads(), [this](uint32_t) {
    SourceReader reader(plan_.files);
    Pages<uint8_t> buffer(kBuffer);
    for (;;) {
      const size_t index = next_.fetch_add(1);
      if (index >= plan_.sources.size() || stopping()) return;
      hash_one(reader, buffer, index);
    }
  });
}

void HashJob::hash_one(SourceReader& reader, Pages<uint8_t>& buffer, size_t index) {
  const Source& source = plan_.sources[index];
  const uint64_t elements = plan_.elements[index];
  const size_t item = byte_size(source.dtype);
  const int fd = plan_.files[static_cast<size_t>(source.file)];
  Sha256 hash;
  for (uint64_t done = 0; done < elements;) {
    if (stopping()) return;
    if (!source.view && done * item % kAhead == 0) {
      will_need(fd, source.offset + done * item, std::min(2 * kAhead, (elements - done) * item));
    }
    const uint64_t n = std::min<uint64_t>(kBuffer / item, elements - done);
    const int error = reader.read(source, done, n, buffer.data());
    if (error) {
      const bool is_short = error == kShortRead;
      return fail({is_short ? JobError::Kind::kShortRead : JobError::Kind::kRead,
                   is_short ? 0 : error, source.file, static_cast<int64_t>(index), -1, "read"});
    }
    hash.update(buffer.data(), n * item);
    bytes_read.fetch_add(n * item, std::memory_order_relaxed);
    done += n;
  }
  hashes_[index] = hash.hex();
}

}  // namespace stockpot
