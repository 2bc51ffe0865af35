#include "gather_cases.h"

#include <cstring>
#include <random>
#include <vector>

#include "suite.h"

namespace stockpot::test {
namespace {

struct Case {
  uint64_t rows, stride, bytes;
  uint32_t channels;          // 0: copied
  uint64_t table_skew, skew;  // bytes beyond a multiple of 256
  uint32_t count;
  std::string text() const {
    std::string s = "gather:";
    for (uint64_t n : {rows, stride, bytes, uint64_t{channels}, table_skew, skew, uint64_t{count}})
      s += " " + std::to_string(n);
    return s;
  }
};

std::vector<uint8_t> random_bytes(uint64_t n, std::minstd_rand* random) {
  std::vector<uint8_t> out(n);
  for (uint8_t& b : out) b = static_cast<uint8_t>((*random)() >> 8);
  return out;
}

uint64_t put(Device& d, const Device::Memory& memory, uint64_t skew, const void* data,
             uint64_t bytes) {
  d.copy_in(STOCKPOT_COMPUTE, memory.address() + skew, data, bytes);
  d.synchronize();
  return memory.address() + skew;
}

bool holds(Device& d, const Case& c) {
  std::minstd_rand random(7);
  const uint64_t table_bytes = (c.rows - 1) * c.stride + c.bytes;
  const uint64_t row = c.channels ? c.bytes * 4 : c.bytes;
  const std::vector<uint8_t> table = random_bytes(table_bytes, &random);
  const std::vector<uint8_t> values = random_bytes(c.channels * 1024, &random);  // any bits
  std::vector<uint32_t> indices(c.count);
  for (uint32_t& i : indices) i = static_cast<uint32_t>(random() % c.rows);
  // 16 bytes on either side, which must stay as they are.
  std::vector<uint8_t> expected(c.count * row + 32, 0xA5);
  for (uint32_t i = 0; i < c.count; ++i) {
    const uint8_t* from = &table[indices[i] * c.stride];
    uint8_t* to = &expected[16 + i * row];
    if (c.channels == 0) {
      std::memcpy(to, from, c.bytes);
    } else {
      for (uint64_t b = 0; b < c.bytes; ++b) {
        const uint64_t channel = b / (c.bytes / c.channels);
        std::memcpy(to + b * 4, &values[(channel * 256 + from[b]) * 4], 4);
      }
    }
  }
  const Device::Memory table_memory(d, table_bytes + 256), out_memory(d, expected.size() + 256),
      values_memory(d, values.size());
  const std::vector<uint8_t> poison(expected.size(), 0xA5);
  stockpot_gather g{};
  g.table = put(d, table_memory, c.table_skew, table.data(), table_bytes);
  g.rows = c.rows;
  g.stride = c.stride;
  g.bytes = c.bytes;
  g.values = c.channels ? put(d, values_memory, 0, values.data(), values.size()) : 0;
  g.channels = c.channels;
  g.count = c.count;
  g.indices = indices.data();
  g.out = put(d, out_memory, c.skew, poison.data(), poison.size()) + 16;
  d.gather(g, STOCKPOT_COMPUTE);
  // They went with the launch.
  std::fill(indices.begin(), indices.end(), 0xFFFFFFFFu);
  std::vector<uint8_t> found(expected.size());
  d.copy_out(STOCKPOT_COMPUTE, found.data(), g.out - 16, found.size());
  d.synchronize();
  return found == expected;
}

template <class Change>
bool is_refused(Device& d, const Change& change) {
  const Device::Memory memory(d, 4096);
  const uint32_t indices[] = {0, 9};
  stockpot_gather g{};
  g.table = memory.address();
  g.rows = 10;
  g.stride = g.bytes = 96;
  g.count = 2;
  g.indices = indices;
  g.out = memory.address() + 2048;
  change(&g);
  try {
    d.gather(g, STOCKPOT_COMPUTE);
    d.synchronize();
    return false;
  } catch (const DeviceError& e) {
    return e.status == STOCKPOT_INVALID;
  }
}

}  // namespace

void gathers(Device& d, bool small) {
  if (!d.gathers()) return check(false, "the library gathers no rows");
  std::vector<Case> cases = {
      {1, 1, 1, 0, 0, 0, 1},         {3, 16, 16, 0, 0, 0, 5},
      {7, 48, 32, 0, 0, 0, 9},  // the first columns of longer rows
      {7, 52, 20, 0, 4, 8, 3},       {5, 33, 33, 0, 0, 0, 4},
      {5, 64, 64, 0, 1, 0, 4},       {5, 64, 64, 0, 0, 3, 4},
      {2, 40000, 40000, 0, 0, 0, 3}, {4, 16, 16, 0, 0, 0, 1025},  // more rows than a launch has
      {1, 4, 4, 1, 0, 0, 1},         {3, 48, 48, 3, 0, 0, 5},
      {3, 27, 27, 3, 0, 0, 5},  // 3 by 3 by 3: pieces would be of two channels
      {3, 12, 12, 3, 0, 4, 5},       {3, 12, 12, 3, 3, 0, 5},
      {3, 13, 12, 3, 0, 0, 5},       {2, 12288, 12288, 4, 0, 0, 600},
      {2, 30000, 30000, 2, 4, 0, 3},
  };
  if (!small) {
    cases.push_back({100, 150528, 150528, 3, 0, 0, 128});
    cases.push_back({100, 1 << 20, 1 << 20, 0, 0, 0, 70});
  }
  for (const Case& c : cases) check(holds(d, c), c.text());

  check(is_refused(d, [](stockpot_gather* g) { g->rows = 9; }),
        "gather: an index beyond the table");
  check(is_refused(d, [](stockpot_gather* g) { g->stride = 95; }), "gather: more than a row");
  check(is_refused(d, [](stockpot_gather* g) { g->out = 0; }), "gather: no place");
  check(is_refused(d, [](stockpot_gather* g) { g->indices = nullptr; }), "gather: no indices");
  for (uint32_t channels : {0u, 5u, 7u}) {
    check(is_refused(d,
                     [&](stockpot_gather* g) {
                       g->values = g->table;
                       g->channels = channels;
                     }),
          "gather: channels");
  }
  check(is_refused(d,
                   [](stockpot_gather* g) {
                     g->values = g->table;
                     g->channels = 3;
                     g->out += 2;
                   }),
        "gather: float32 at an odd place");
  check(!is_refused(d, [](stockpot_gather* g) { g->count = 0; }), "gather: no rows");
}

}  // namespace stockpot::test
