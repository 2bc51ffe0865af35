#include "hold_job.h"

#include <algorithm>

#include "budget.h"
#include "file.h"

namespace stockpot {
namespace {
constexpr uint64_t kPieceBytes = 1 << 20;
constexpr size_t kPiecesAhead = 16;  // asked of the system before they are read
}  // namespace

HoldJob::HoldJob(HoldPlan plan) : plan_(std::move(plan)) {
  for (size_t s = 0; s < plan_.sources.size(); ++s) {
    if (plan_.sources[s].file < 0) continue;
    const uint64_t at_once = kPieceBytes / byte_size(plan_.sources[s].dtype);
    for (uint64_t first = 0; first < plan_.elements[s]; first += at_once)
      pieces_.push_back({s, first, std::min(at_once, plan_.elements[s] - first)});
  }
}

void HoldJob::work() {
  const auto lease = ThreadBudget::process().take(plan_.threads, [this] { return stopping(); });
  if (lease.threads() == 0) return;
  parallel(lease.threads(), [this](uint32_t) {
    SourceReader reader(plan_.files);
    for (size_t index; (index = next_.fetch_add(1)) < pieces_.size() && !stopping();) {
      const Piece& piece = pieces_[index];
      const Source& source = plan_.sources[piece.source];
      const size_t item = byte_size(source.dtype);
      if (reader.waited() && index + kPiecesAhead < pieces_.size()) {
        const Piece& ahead = pieces_[index + kPiecesAhead];
        const Source& s = plan_.sources[ahead.source];
        if (!s.view)
          will_need(plan_.files[static_cast<size_t>(s.file)],
                    s.offset + ahead.first * byte_size(s.dtype), ahead.count * byte_size(s.dtype));
      }
      const int error =
          reader.read(source, piece.first, piece.count,
                      plan_.block->data.get() + plan_.offsets[piece.source] + piece.first * item);
      if (error) {
        const bool is_short = error == kShortRead;
        return fail({is_short ? JobError::Kind::kShortRead : JobError::Kind::kRead,
                     is_short ? 0 : error, source.file, static_cast<int64_t>(piece.source), -1,
                     "read"});
      }
      bytes_read.fetch_add(piece.count * item, std::memory_order_relaxed);
    }
  });
}

}  // namespace stockpot
