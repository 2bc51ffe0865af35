#include "network_repeats.h"

#include "compare.h"
#include "suite.h"

namespace stockpot::test {
namespace {

constexpr int kTimes = 3;  // plain, captured, replayed

NetworkCase with_other_numbers(NetworkCase c) {
  for (auto* all : {&c.weights, &c.floats}) {
    for (std::vector<float>& numbers : *all) {
      for (float& v : numbers) v *= 0.75f;
    }
  }
  return c;
}

}  // namespace

void repeated_passes(Device& d, const NetworkCase& c, uint32_t number) {
  const std::string name = c.name + " in " + kNames[number];
  const NetworkCase other = with_other_numbers(c);
  const Found want = OnDevice(d, c, number, c.batch).run();
  const Found want_other = OnDevice(d, other, number, c.batch).run();
  OnDevice there(d, c, number, c.batch);
  const size_t row = want.out.size() / c.batch;
  for (int n = 0; n < kTimes; ++n) check(same_bits(there.run(), want), name + ": again");
  for (int n = 0; n < kTimes; ++n) {
    for (uint32_t first = 0; first < c.batch; ++first) {
      there.forward(first, 1);
      const auto begin = want.out.begin() + static_cast<std::ptrdiff_t>(first * row);
      check(same_bits(there.out(1), {begin, begin + static_cast<std::ptrdiff_t>(row)}),
            name + ": one example at another place, again");
    }
    check(same_bits(there.run(), want), name + ": again, after others");
  }
  there.set_weights(other);
  there.set_floats(other.floats);
  for (int n = 0; n < kTimes; ++n)
    check(same_bits(there.run(), want_other), name + ": again, with other weights and inputs");
  there.set_weights(c);
  there.set_floats(c.floats);
  there.move_output();
  for (int n = 0; n < kTimes; ++n)
    check(same_bits(there.run(), want), name + ": again, with the output at another place");
}

}  // namespace stockpot::test
