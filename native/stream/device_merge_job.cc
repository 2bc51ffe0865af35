#include "device_merge_job.h"

#include <algorithm>

#include "../backend/device.h"
#include "../backend/plan_tables.h"
#include "upload_ring.h"

namespace stockpot {
namespace {

constexpr size_t kTiles = 4;  // read, computed, copied out, written
constexpr uint64_t kAlign = 256;
constexpr uint64_t kLargestSlot = 16 << 20;
constexpr uint64_t kLargestTile = 32 << 20;  // of output

uint64_t padded(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

// What a reader does at a time: a range of a tile's inputs, or a piece that is not a mean.
struct DeviceMergeJob::Task {
  Tile* tile;
  uint64_t begin, end;
  const Piece* piece;
  uint64_t host_out;  // the piece's bytes of the chunk
};

// One chunk's place on the device.
struct DeviceMergeJob::Tile {
  // An input's elements of one piece.
  struct Part {
    uint32_t segment;
    const Source* source;
    uint64_t first;       // element
    uint64_t begin, end;  // bytes of the tile's inputs
  };
  // A mean.
  struct Mean {
    const Piece* piece;
    uint64_t out;       // bytes of the tile's device output
    uint64_t host_out;  // and of the chunk
  };

  Device::Memory inputs, out, reports;
  Device::HostMemory host_out, host_reports;
  Device::Event copied_in, computed, copied_out;
  Device::Plan plan;

  size_t chunk = 0;
  std::vector<Part> parts;
  std::vector<Mean> means;
  std::vector<Task> tasks;
  uint64_t input_bytes = 0;
  size_t unfinished = 0;  // tasks; under mutex_
};

struct DeviceMergeJob::Pipeline {
  Pipeline(const stockpot_backend* backend, uint32_t index) : device(backend, index) {}
  // Declared in this order so that the device outlives its memory.
  Device device;
  std::unique_ptr<UploadRing<Device>> ring;
  uint64_t slot_bytes = 0, tile_inputs = 0, tile_out = 0;
  size_t most_means = 0;
  std::vector<Tile> tiles;
  Tile* current = nullptr;  // whose tasks are being given out; under mutex_
  size_t next_task = 0;
  Settle settle{device};  // last, so that nothing uses memory that is about to go
};

DeviceMergeJob::DeviceMergeJob(MergePlan plan, const stockpot_backend* backend, uint32_t device)
    : MergeJob(std::move(plan)), backend_(backend), device_(device) {}
DeviceMergeJob::~DeviceMergeJob() = default;

void DeviceMergeJob::wake() {
  {
    const std::lock_guard<std::mutex> lock(pipeline_mutex_);
    if (pipeline_ && pipeline_->ring) pipeline_->ring->wake();
  }
  MergeJob::wake();
}

void DeviceMergeJob::work() {
  try {
    {
      auto made = std::make_unique<Pipeline>(backend_, device_);
      const std::lock_guard<std::mutex> lock(pipeline_mutex_);
      pipeline_ = std::move(made);
    }
    MergeJob::work();
  } catch (const DeviceError& e) {
    fail({JobError::Kind::kDevice, 0, -1, -1, -1, e.what()});
  }
  const std::lock_guard<std::mutex> lock(pipeline_mutex_);
  pipeline_.reset();
}

// A third of the memory for what is read, a third for results, and what the processor does itself
// takes the rest; and at most half of the device's free memory.
void DeviceMergeJob::choose_sizes() {
  MergeJob::choose_sizes();  // blocks of the pieces that the processor does
  Pipeline& p = *pipeline_;
  const uint64_t third = std::max<uint64_t>(plan_.memory, 1 << 20) / 3;
  while (threads_ > 1 && third / (threads_ + 2) < (64 << 10)) --threads_;
  p.slot_bytes = std::min(third / (threads_ + 2), kLargestSlot) / kAlign * kAlign;
  // Bytes of inputs that come with a byte of output, at worst.
  double ratio = 1;
  for (size_t s = 0; s < plan_.segments.size(); ++s) {
    if (plan_.segments[s].op != Op::kMean) continue;
    double bytes = 0;
    for (uint32_t i = 0; i < plan_.k; ++i) {
      const Source& source = plan_.sources[s * plan_.k + i];
      if (source.file >= 0) bytes += static_cast<double>(byte_size(source.dtype));
    }
    ratio = std::max(ratio, bytes / static_cast<double>(byte_size(plan_.segments[s].out_dtype)));
  }
  const double room =
      static_cast<double>(p.device.free_memory()) / 2 / static_cast<double>(kTiles) / (ratio + 1);
  if (!plan_.chunk_bytes) {
    chunk_bytes_ = static_cast<size_t>(std::min<double>(
        static_cast<double>(std::min<uint64_t>(third / kTiles, kLargestTile)), room));
    chunk_bytes_ = std::max<size_t>(chunk_bytes_, 4096);
  }
  slots_.resize(kTiles);
}

uint64_t DeviceMergeJob::buffer_bytes() const {
  return MergeJob::buffer_bytes() + (threads_ + 2) * pipeline_->slot_bytes;
}

void DeviceMergeJob::prepare() {
  Pipeline& p = *pipeline_;
  for (size_t c = 0; c < chunks_.size(); ++c) {
    Tile tile;
    lay_out(c, &tile);
    p.tile_inputs = std::max(p.tile_inputs, tile.input_bytes);
    p.most_means = std::max(p.most_means, tile.means.size());
    if (!tile.means.empty()) {
      const Tile::Mean& last = tile.means.back();
      p.tile_out = std::max(
          p.tile_out,
          last.out + last.piece->count * byte_size(plan_.segments[last.piece->segment].out_dtype));
    }
  }
  {
    auto ring = std::make_unique<UploadRing<Device>>(p.device, STOCKPOT_COPY_IN, threads_ + 2,
                                                     p.slot_bytes);
    const std::lock_guard<std::mutex> lock(pipeline_mutex_);
    p.ring = std::move(ring);
  }
  const uint64_t reports = p.most_means * sizeof(stockpot_mean_report);
  p.tiles.resize(std::min(kTiles, std::max<size_t>(chunks_.size(), 1)));
  for (Tile& t : p.tiles) {
    t.inputs = Device::Memory(p.device, p.tile_inputs);
    t.out = Device::Memory(p.device, p.tile_out);
    t.reports = Device::Memory(p.device, reports);
    t.host_out = Device::HostMemory(p.device, chunk_bytes_);
    t.host_reports = Device::HostMemory(p.device, reports);
    t.copied_in = Device::Event(p.device);
    t.computed = Device::Event(p.device);
    t.copied_out = Device::Event(p.device);
  }
  slots_.resize(p.tiles.size());
}

// Where a chunk's inputs and results lie. Every input of every piece begins at a multiple of
// kAlign, so that the device reads whole vectors whatever the tensors' sizes.
void DeviceMergeJob::lay_out(size_t index, Tile* tile) {
  tile->chunk = index;
  tile->parts.clear();
  tile->means.clear();
  tile->tasks.clear();
  const Chunk& chunk = chunks_[index];
  uint64_t in = 0, out = 0, host_out = 0, given = 0;
  const auto give_inputs = [&] {
    for (; given < in; given = std::min(in, given + pipeline_->slot_bytes)) {
      tile->tasks.push_back({tile, given, std::min(in, given + pipeline_->slot_bytes), nullptr, 0});
    }
  };
  for (size_t n = 0; n < chunk.pieces; ++n) {
    const Piece& piece = pieces_[chunk.first_piece + n];
    const Segment& segment = plan_.segments[piece.segment];
    if (segment.op == Op::kMean) {
      tile->means.push_back({&piece, out, host_out});
      for (uint32_t i = 0; i < plan_.k; ++i) {
        const Source& source = plan_.sources[size_t{piece.segment} * plan_.k + i];
        if (source.file < 0) continue;
        const uint64_t bytes = piece.count * byte_size(source.dtype);
        tile->parts.push_back({piece.segment, &source, piece.first, in, in + bytes});
        in = padded(in + bytes);
      }
      out = padded(out + piece.count * byte_size(segment.out_dtype));
    } else {
      give_inputs();  // tasks are in the order of the output: input hashes need that
      tile->tasks.push_back({tile, 0, 0, &piece, host_out});
    }
    host_out += piece.count * byte_size(segment.out_dtype);
  }
  give_inputs();
  tile->input_bytes = in;
  tile->unfinished = tile->tasks.size();
}

// The next task, in the order of the output; false where there are none or the job stops.
bool DeviceMergeJob::take_task(Task* task) {
  Pipeline& p = *pipeline_;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!p.current) {
    if (stopping() || next_chunk_ == chunks_.size()) return false;
    const size_t chunk = next_chunk_;
    if (chunk >= written_ + slots_.size()) {
      changed_.wait(lock);
      continue;
    }
    ++next_chunk_;
    Tile& tile = p.tiles[chunk % p.tiles.size()];
    lay_out(chunk, &tile);
    p.next_task = 0;
    p.current = &tile;
  }
  *task = p.current->tasks[p.next_task++];
  if (p.next_task == p.current->tasks.size()) {
    p.current = nullptr;
    changed_.notify_all();
  }
  return true;
}

void DeviceMergeJob::compute(uint32_t) {
  Worker w(plan_.files);
  w.blocks.resize(plan_.k);
  try {
    for (Task task; take_task(&task);) {
      if (task.piece) {
        compute_piece(w, *task.piece, task.tile->host_out.data() + task.host_out);
        if (stopping()) return;
        task_done(task.tile);
      } else {
        upload(w, task);
      }
      const std::lock_guard<std::mutex> lock(mutex_);
      cold_ = cold_ || w.reader.waited();
    }
  } catch (const DeviceError& e) {
    fail({JobError::Kind::kDevice, 0, -1, -1, -1, e.what()});
  }
}

void DeviceMergeJob::upload(Worker& w, const Task& task) {
  UploadRing<Device>& ring = *pipeline_->ring;
  UploadRing<Device>::Slot* slot = ring.take([this] { return stopping(); });
  if (!slot) return;
  Tile& tile = *task.tile;
  if (!read_part(w, tile, task.begin, task.end, slot->data())) return ring.give_back(slot);
  ring.submit(slot, tile.inputs.address() + task.begin, task.end - task.begin,
              [this, &tile] { task_done(&tile); });
}

// Reads the inputs that lie in bytes [begin, end) of the tile.
bool DeviceMergeJob::read_part(Worker& w, const Tile& tile, uint64_t begin, uint64_t end,
                               uint8_t* to) {
  auto part = std::upper_bound(tile.parts.begin(), tile.parts.end(), begin,
                               [](uint64_t at, const Tile::Part& p) { return at < p.end; });
  for (; part != tile.parts.end() && part->begin < end && !stopping(); ++part) {
    const Source& source = *part->source;
    const size_t item = byte_size(source.dtype);
    const uint64_t from = std::max(begin, part->begin), until = std::min(end, part->end);
    const uint64_t first = part->first + (from - part->begin) / item;
    const uint64_t bytes = until - from;
    const int error = w.reader.read(source, first, bytes / item, to + (from - begin));
    if (error) {
      read_failed(error, source, part->segment);
      return false;
    }
    if (source.held) continue;  // was in memory: nothing was read
    const size_t file = static_cast<size_t>(source.file);
    if (input_hashes_.active(file)) {
      input_hashes_.feed(file, source.offset + first * item, to + (from - begin),
                         static_cast<size_t>(bytes), [this] { return stopping(); });
    }
    bytes_read.fetch_add(bytes, std::memory_order_relaxed);
  }
  return !stopping();
}

// The last task of a tile starts what comes behind it.
void DeviceMergeJob::task_done(Tile* tile) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--tile->unfinished) return;
  }
  if (!tile->means.empty()) launch(tile);
  const std::lock_guard<std::mutex> lock(mutex_);
  Slot& slot = slots_[tile->chunk % slots_.size()];
  slot.bytes = tile->host_out.data();
  slot.full = true;
  changed_.notify_all();
}

void DeviceMergeJob::launch(Tile* tile) {
  Device& device = pipeline_->device;
  PlanTables tables;
  auto part = tile->parts.begin();
  for (const Tile::Mean& mean : tile->means) {
    const uint32_t segment = mean.piece->segment;
    stockpot_tensor t{};
    t.elements = mean.piece->count;
    t.first_input = static_cast<uint32_t>(tables.inputs.size());
    t.weights = -1;
    t.out = tile->out.address() + mean.out;
    t.out_dtype = static_cast<uint32_t>(plan_.segments[segment].out_dtype);
    const int32_t set = plan_.segments[segment].weight_set;
    if (set >= 0) t.weights = static_cast<int32_t>(tables.weights.size());
    for (uint32_t i = 0; i < plan_.k; ++i) {
      const Source& source = plan_.sources[size_t{segment} * plan_.k + i];
      if (source.file < 0) continue;
      tables.inputs.push_back(
          {tile->inputs.address() + part->begin, static_cast<uint32_t>(source.dtype), 0});
      if (set >= 0) tables.weights.push_back(plan_.weights[size_t(set) * plan_.k + i]);
      ++part;
    }
    t.inputs = static_cast<uint32_t>(tables.inputs.size()) - t.first_input;
    tables.tensors.push_back(t);
  }
  const uint64_t reports = tables.tensors.size() * sizeof(stockpot_mean_report);

  tile->plan = Device::Plan(device, tables.spec(STOCKPOT_MEAN, tile->reports.address()));
  tile->copied_in.record(STOCKPOT_COPY_IN);
  tile->copied_in.hold(STOCKPOT_COMPUTE);
  device.fill_zero(STOCKPOT_COMPUTE, tile->reports.address(), reports);
  tile->plan.run(nullptr, STOCKPOT_COMPUTE);
  tile->computed.record(STOCKPOT_COMPUTE);
  tile->computed.hold(STOCKPOT_COPY_OUT);
  device.copy_out(STOCKPOT_COPY_OUT, tile->host_reports.data(), tile->reports.address(), reports);
  for (size_t i = 0; i < tile->means.size(); ++i) {
    const stockpot_tensor& t = tables.tensors[i];
    device.copy_out(STOCKPOT_COPY_OUT, tile->host_out.data() + tile->means[i].host_out, t.out,
                    t.elements * byte_size(static_cast<DType>(t.out_dtype)));
  }
  tile->copied_out.record(STOCKPOT_COPY_OUT);
}

// On the writer's thread: waits for the results, and has the processor redo what the device found
// fault with.
bool DeviceMergeJob::complete(size_t chunk, Slot&) {
  Tile& tile = pipeline_->tiles[chunk % pipeline_->tiles.size()];
  if (tile.means.empty()) return !stopping();
  try {
    tile.copied_out.wait();
    tile.plan = Device::Plan();
  } catch (const DeviceError& e) {
    fail({JobError::Kind::kDevice, 0, -1, -1, -1, e.what()});
    return false;
  }
  const auto* reports = reinterpret_cast<const stockpot_mean_report*>(tile.host_reports.data());
  for (size_t i = 0; i < tile.means.size() && !stopping(); ++i) {
    if (reports[i].nonfinite == 0 && reports[i].overflows == 0) continue;
    Worker w(plan_.files);
    w.blocks.resize(plan_.k);
    w.feeds_hashes = false;
    compute_piece(w, *tile.means[i].piece, tile.host_out.data() + tile.means[i].host_out);
  }
  return !stopping();
}

}  // namespace stockpot
