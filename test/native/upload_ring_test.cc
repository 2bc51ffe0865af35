// The ring of pinned buffers with a device that copies late and looks closely: no slot may change
// between the start of its copy and the copy itself, and everything must arrive.
#include "../../native/stream/upload_ring.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace stockpot;

namespace {

int passed = 0, failed = 0;

void check(bool holds, const std::string& what) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("failed: %s\n", what.c_str());
}

// Copies on a thread of its own, in order, some time after they were started; fails on demand.
class FakeDevice {
 public:
  class HostMemory {
   public:
    HostMemory(FakeDevice&, uint64_t bytes) : bytes_(bytes) {}
    uint8_t* data() const { return const_cast<uint8_t*>(bytes_.data()); }

   private:
    std::vector<uint8_t> bytes_;
  };

  class Event {
   public:
    explicit Event(FakeDevice& device) : device_(&device) {}
    void record(uint32_t) {
      const std::lock_guard<std::mutex> lock(device_->mutex_);
      if (device_->fail_records) throw std::runtime_error("no event");
      at_ = device_->started_;
    }
    void wait() const {
      std::unique_lock<std::mutex> lock(device_->mutex_);
      device_->changed_.wait(lock, [&] { return device_->done_ >= at_; });
    }

   private:
    FakeDevice* device_;
    uint64_t at_ = 0;  // copies started when it was recorded
  };

  explicit FakeDevice(size_t bytes) : memory(bytes), thread_([this] { work(); }) {}
  ~FakeDevice() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void copy_in(uint32_t, uint64_t to, const void* from, uint64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto* p = static_cast<const uint8_t*>(from);
    queue_.push_back({to, p, std::vector<uint8_t>(p, p + bytes)});
    ++started_;
    changed_.notify_all();
  }

  std::vector<uint8_t> memory;
  std::atomic<int> changed_slots{0};
  std::atomic<bool> fail_records{false};

 private:
  struct Copy {
    uint64_t to;
    const uint8_t* from;
    std::vector<uint8_t> expected;  // what the slot held when the copy was started
  };
  void work() {
    std::minstd_rand random(7);
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const Copy copy = queue_.front();
      queue_.pop_front();
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
      if (std::memcmp(copy.from, copy.expected.data(), copy.expected.size()) != 0) ++changed_slots;
      std::memcpy(&memory[copy.to], copy.expected.data(), copy.expected.size());
      lock.lock();
      ++done_;
      changed_.notify_all();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Copy> queue_;
  uint64_t started_ = 0, done_ = 0;
  bool ending_ = false;
  std::thread thread_;
};

void upload(size_t readers, size_t slots, size_t slot_bytes, size_t pieces) {
  FakeDevice device(pieces * slot_bytes);
  std::atomic<size_t> next{0}, submitted{0};
  {
    UploadRing<FakeDevice> ring(device, 1, slots, slot_bytes);
    std::vector<std::thread> threads;
    for (size_t r = 0; r < readers; ++r) {
      threads.emplace_back([&] {
        for (size_t piece; (piece = next++) < pieces;) {
          auto* slot = ring.take([] { return false; });
          if (piece % 7 == 3) {  // changes its mind, and takes another
            ring.give_back(slot);
            slot = ring.take([] { return false; });
          }
          for (size_t i = 0; i < slot_bytes; ++i)
            slot->data()[i] = static_cast<uint8_t>(piece * 31 + i);
          ring.submit(slot, piece * slot_bytes, slot_bytes, [&] { ++submitted; });
        }
      });
    }
    for (std::thread& t : threads) t.join();
  }  // the ring waits for what is under way
  bool arrived = true;
  for (size_t piece = 0; piece < pieces; ++piece) {
    for (size_t i = 0; i < slot_bytes; ++i) {
      arrived =
          arrived && device.memory[piece * slot_bytes + i] == static_cast<uint8_t>(piece * 31 + i);
    }
  }
  const std::string what =
      std::to_string(readers) + " readers, " + std::to_string(slots) + " slots: ";
  check(arrived, what + "everything arrived when the ring was gone");
  check(device.changed_slots == 0, what + "no slot changed before its copy");
  check(submitted == pieces, what + "each was followed by its `then`");
}

void stopping() {
  FakeDevice device(16);
  UploadRing<FakeDevice> ring(device, 1, 1, 16);
  auto* held = ring.take([] { return false; });
  std::atomic<bool> stop{false};
  std::thread waiting([&] { check(!ring.take([&] { return stop.load(); }), "stopped"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  stop = true;
  ring.wake();
  waiting.join();
  ring.give_back(held);
  check(ring.take([] { return false; }) == held, "given back");
}

void failing() {
  FakeDevice device(64);
  UploadRing<FakeDevice> ring(device, 1, 2, 16);
  device.fail_records = true;
  bool thrown = false;
  auto* slot = ring.take([] { return false; });
  try {
    ring.submit(slot, 0, 16, [] {});
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  check(thrown, "the device's failure arrives");
  device.fail_records = false;
  thrown = false;
  try {
    ring.submit(ring.take([] { return false; }), 0, 16, [] { throw std::runtime_error("then"); });
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  check(thrown, "and that of what follows");
  for (int i = 0; i < 4; ++i) {  // no slot was lost
    ring.submit(ring.take([] { return false; }), 16, 16, [] {});
  }
  check(true, "and the ring goes on");
}

}  // namespace

int main() {
  upload(1, 1, 64, 50);
  upload(1, 3, 512, 50);
  upload(4, 4, 256, 300);
  upload(4, 6, 256, 300);
  upload(7, 9, 64, 500);
  stopping();
  failing();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
