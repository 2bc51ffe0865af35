#include "emulator.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <mutex>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

__thread const Here* here = nullptr;

namespace {

constexpr size_t kStack = 256 << 10;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "emulator: %s\n", what);
  std::abort();
}

// A place to go on from, with its own stack.
#if defined(__x86_64__)
// The registers that a function must keep, on the stack; then the other stack.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
.type emulator_switch,@function
emulator_switch:
  endbr64
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch,.-emulator_switch
)");
struct Place {
  void* sp = nullptr;
  void start(uint8_t* stack, size_t size, void (*entry)()) {
    auto** top = reinterpret_cast<void**>(stack + size);
    *--top = nullptr;  // keeps the alignment that a call leaves
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    sp = top;
  }
  static void go(Place& from, Place& to) { emulator_switch(&from.sp, to.sp); }
};
#else
struct Place {
  ucontext_t context;
  void start(uint8_t* stack, size_t size, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }
  static void go(Place& from, Place& to) { swapcontext(&from.context, &to.context); }
};
#endif

enum class State : uint8_t { kReady, kBarrier, kWarp, kEnded };

struct Copy {
  void* to;
  const void* from;
  size_t size;
};

struct Thread {
  Place place;
  std::unique_ptr<uint8_t[]> stack{new uint8_t[kStack]};
  Here at;
  State state = State::kReady;
  unsigned mask = 0;
  uint8_t mine[kMost];  // what it gives to its warp
  std::vector<std::vector<Copy>> groups;
  std::vector<Copy> open;
};

struct Block {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<uint8_t> slots;  // one a thread: what it gave, from when its warp was all there
  std::vector<uint8_t> shared;
  const std::function<void()>* body = nullptr;
  Place scheduler;
  size_t running = 0, count = 0;
};

std::mutex one_launch;  // static shared memory is one for all
Block block;

#if defined(__SANITIZE_ADDRESS__)
const void* scheduler_stack = nullptr;
size_t scheduler_size = 0;
#endif

void to_scheduler([[maybe_unused]] bool ends) {
  Thread& t = *block.threads[block.running];
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(ends ? nullptr : &fake, scheduler_stack, scheduler_size);
#endif
  Place::go(t.place, block.scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, &scheduler_stack, &scheduler_size);
#endif
}

void entry() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_size);
#endif
  (*block.body)();
  block.threads[block.running]->state = State::kEnded;
  to_scheduler(true);
  die("an ended thread went on");
}

void resume(size_t i) {
  Thread& t = *block.threads[i];
  block.running = i;
  here = &t.at;
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, t.stack.get(), kStack);
#endif
  Place::go(block.scheduler, t.place);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

// Lets the warps go on whose threads are all there; says whether one was.
bool release_warps() {
  bool any = false;
  for (size_t first = 0; first < block.count; first += 32) {
    for (size_t i = first; i < std::min(first + 32, block.count); ++i) {
      if (block.threads[i]->state != State::kWarp) continue;
      const unsigned mask = block.threads[i]->mask;
      bool all = true;
      for (size_t l = 0; l < 32; ++l) {
        if (!(mask >> l & 1) || first + l >= block.count) continue;
        const Thread& other = *block.threads[first + l];
        all = all && other.state == State::kWarp && other.mask == mask;
      }
      if (!all) continue;
      any = true;
      for (size_t l = 0; l < 32; ++l) {
        if (!(mask >> l & 1) || first + l >= block.count) continue;
        Thread& t = *block.threads[first + l];
        t.state = State::kReady;
        std::memcpy(block.slots.data() + (first + l) * kMost, t.mine, kMost);
      }
    }
  }
  return any;
}

bool release_barrier() {
  bool any = false;
  for (size_t i = 0; i < block.count; ++i) {
    if (block.threads[i]->state == State::kWarp) return false;
  }
  for (size_t i = 0; i < block.count; ++i) {
    if (block.threads[i]->state != State::kBarrier) continue;
    block.threads[i]->state = State::kReady;
    any = true;
  }
  return any;
}

void run_block(bool reverse) {
  for (;;) {
    bool alive = false;
    for (size_t n = 0; n < block.count; ++n) {
      const size_t i = reverse ? block.count - 1 - n : n;
      if (block.threads[i]->state == State::kReady) resume(i);
      alive = alive || block.threads[i]->state != State::kEnded;
    }
    if (!alive) return;
    if (!release_warps() && !release_barrier()) die("the threads of a block wait for each other");
  }
}

}  // namespace

void run(dim3 grid, dim3 size, size_t shared_bytes, const std::function<void()>& body) {
  const std::lock_guard<std::mutex> lock(one_launch);
  const char* order = std::getenv("EMULATOR_ORDER");
  const bool reverse = order && std::strcmp(order, "reverse") == 0;
  block.count = size_t{size.x} * size.y * size.z;
  block.body = &body;
  if (block.count > 1024 || block.count == 0) die("a block has 1 to 1024 threads");
  while (block.threads.size() < block.count) block.threads.push_back(std::make_unique<Thread>());
  block.slots.resize((block.count + 31) / 32 * 32 * kMost);
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        block.shared.assign(shared_bytes, 0xA5);
        for (size_t i = 0; i < block.count; ++i) {
          Thread& t = *block.threads[i];
          const auto n = static_cast<unsigned>(i);
          t.at = {{n % size.x, n / size.x % size.y, n / size.x / size.y}, {x, y, z}, size, grid};
          t.state = State::kReady;
          t.groups.clear();
          t.open.clear();
#if defined(__SANITIZE_ADDRESS__)
          // The frames in which the last thread here ended never returned.
          ASAN_UNPOISON_MEMORY_REGION(t.stack.get() + kStack - 4096, 4096);
#endif
          t.place.start(t.stack.get(), kStack, entry);
        }
        run_block(reverse);
      }
    }
  }
  here = nullptr;
}

uint8_t* dynamic_shared() { return block.shared.data(); }

void barrier() {
  block.threads[block.running]->state = State::kBarrier;
  to_scheduler(false);
}

const uint8_t* exchange(unsigned mask, const void* mine, size_t size) {
  const size_t at = block.running;
  Thread& t = *block.threads[at];
  if (!(mask >> (at & 31) & 1)) die("a lane is not in its own mask");
  std::memcpy(t.mine, mine, size);
  t.mask = mask;
  t.state = State::kWarp;
  to_scheduler(false);
  return block.slots.data() + at / 32 * 32 * kMost;
}

void copy_later(void* to, const void* from, size_t size) {
  block.threads[block.running]->open.push_back({to, from, size});
}

void commit_copies() {
  Thread& t = *block.threads[block.running];
  t.groups.push_back(std::move(t.open));
  t.open.clear();
}

void wait_copies(size_t groups_left) {
  Thread& t = *block.threads[block.running];
  while (t.groups.size() > groups_left) {
    for (const Copy& c : t.groups.front()) {
      c.from ? std::memcpy(c.to, c.from, c.size) : std::memset(c.to, 0, c.size);
    }
    t.groups.erase(t.groups.begin());
  }
}

}  // namespace emulator
