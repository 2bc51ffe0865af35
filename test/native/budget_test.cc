// The memory that jobs share: never more than the largest limit among them; who waits is served
// when some is given back, and can give up.
#include "../../native/stream/budget.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

using stockpot::MemoryBudget;

namespace {

int failures = 0;
void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  ++failures;
}

const auto never = [] { return false; };

void shares() {
  MemoryBudget& b = MemoryBudget::buffers();
  expect(b.left(100) == 100, "all is left of an unused budget");
  auto first = b.take(60, 10, 100, never);
  expect(first.bytes() == 60 && b.held() == 60 && b.left(100) == 40, "60 of 100");
  auto second = b.take(60, 10, 100, never);
  expect(second.bytes() == 40 && b.left(100) == 0, "the second gets what is left");
  expect(b.take_now(1, 100).bytes() == 0, "nothing is left");
  {
    auto larger = b.take_now(150, 300);
    expect(larger.bytes() == 150 && b.held() == 250, "a larger limit has more");
    expect(b.left(100) == 50, "and others share in it");
    expect(b.take_now(51, 100).bytes() == 0, "within it");
  }
  expect(b.left(100) == 0, "until it is over");
  first.release();
  first.release();
  expect(b.held() == 40 && b.left(100) == 60, "released once");
  second = b.take(5, 5, 100, never);
  expect(b.held() == 5, "assignment gives back what it replaces");
}

void alone() {
  auto small = MemoryBudget::buffers().take(50, 30, 10, never);
  expect(small.bytes() == 30, "who is alone gets its least, whatever its limit");
}

void waits() {
  MemoryBudget& b = MemoryBudget::buffers();
  std::atomic<int> served{0};
  auto all = b.take(100, 100, 100, never);
  std::vector<std::thread> others;
  for (int i = 0; i < 8; ++i) {
    others.emplace_back([&] {
      const auto some = b.take(40, 30, 100, never);
      expect(some.bytes() >= 30 && b.held() <= 100, "no more than the limit at any time");
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ++served;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  expect(served == 0, "all wait while nothing is left");
  std::atomic<bool> stop{false};
  std::thread gives_up(
      [&] { expect(b.take(1, 1, 100, [&] { return stop.load(); }).bytes() == 0, "gave up"); });
  stop = true;
  gives_up.join();
  all.release();
  for (std::thread& t : others) t.join();
  expect(served == 8 && b.held() == 0, "all were served");
}

}  // namespace

int main() {
  shares();
  alone();
  waits();
  expect(MemoryBudget::buffers().held() == 0, "all is given back");
  return failures ? 1 : 0;
}
