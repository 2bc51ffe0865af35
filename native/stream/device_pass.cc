#include "device_pass.h"

#include <algorithm>

namespace stockpot {
namespace {

constexpr uint64_t kAlign = 256;
constexpr uint64_t kLargestStaging = 256 << 20;  // one of two
constexpr size_t kMostPieces = 32768;            // of a plan

uint64_t padded(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

uint64_t DevicePass::upload_bytes(const Piece& piece) const {
  uint64_t bytes = 0;
  for (uint32_t i : piece.positions) {
    const Source& s = plan_.sources[size_t{piece.segment} * plan_.k + i];
    if (!s.resident) bytes += padded(piece.count * byte_size(s.dtype));
  }
  return bytes;
}

void DevicePass::execute() {
  std::vector<Piece> pieces;
  uint64_t largest = 0, all = 0;
  for (uint32_t s = 0; s < plan_.elements.size(); ++s) {
    for (uint64_t first = 0; first < plan_.elements[s]; first += kPiece) {
      Piece piece{s, first, std::min(kPiece, plan_.elements[s] - first), {}, {}};
      for (uint32_t i = 0; i < plan_.k; ++i) {
        const Source& source = plan_.sources[size_t{s} * plan_.k + i];
        if (source.file < 0) continue;
        piece.positions.push_back(i);
        const uint64_t at = source.resident ? source.resident + first * byte_size(source.dtype) : 0;
        piece.inputs.push_back({at, static_cast<uint32_t>(source.dtype), 0});
      }
      largest = std::max(largest, upload_bytes(piece));
      all += upload_bytes(piece);
      pieces.push_back(std::move(piece));
    }
  }
  const uint64_t room = std::min(device().free_memory() / 8, kLargestStaging);
  const uint64_t staging_bytes = std::max(largest, std::min(all, room));
  // In this order, so that what is declared last goes first.
  Device::Memory staging[2];
  for (Device::Memory& half : staging) {
    if (all) half = Device::Memory(device(), staging_bytes);
  }
  const Device::Event copied(device());
  const Device::Event computed[2] = {Device::Event(device()), Device::Event(device())};
  std::vector<Device::Plan> plans[2];
  const Settle settle{device()};
  begin(pieces.size());

  size_t next = 0;
  for (int half = 0; next < pieces.size() && !stopping(); half = 1 - half) {
    if (!plans[half].empty()) computed[half].wait();
    plans[half].clear();
    std::vector<Piece> together;
    std::vector<Upload> uploads;
    uint64_t in = 0, scratch = 0;
    for (; next < pieces.size() && together.size() < kMostPieces; ++next) {
      Piece& piece = pieces[next];
      const uint64_t bytes = upload_bytes(piece);
      const bool fits = in + bytes <= staging_bytes && scratch + scratch_of(piece) <= kMostScratch;
      if (!together.empty() && !fits) break;
      scratch += scratch_of(piece);
      for (size_t p = 0; p < piece.positions.size(); ++p) {
        const Source& source = plan_.sources[size_t{piece.segment} * plan_.k + piece.positions[p]];
        if (source.resident) continue;
        piece.inputs[p].data = staging[half].address() + in;
        uploads.push_back({&source, piece.segment, piece.first, piece.count, piece.inputs[p].data});
        in += padded(piece.count * byte_size(source.dtype));
      }
      together.push_back(std::move(piece));
    }
    if (!upload(uploads)) break;
    copied.record(STOCKPOT_COPY_IN);
    copied.hold(STOCKPOT_COMPUTE);
    start(together, &plans[half]);
    computed[half].record(STOCKPOT_COMPUTE);
  }
  if (!stopping()) finish();
}

}  // namespace stockpot
