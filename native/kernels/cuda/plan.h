#pragma once
#include <string>
#include <vector>

#include "tables.h"

namespace stockpot::cuda {

// The tables of a plan in host memory, and how its work is cut.
struct HostPlan {
  uint32_t operation = 0;
  std::vector<stockpot_tensor> tensors;
  std::vector<stockpot_input> inputs;
  std::vector<double> weights;
  std::vector<Facts> facts;           // none of them without tiles
  std::vector<uint64_t> group_tiles;  // DOTS, GRAM: first tile of each group, and one more
  uint32_t k = 0;                     // DOTS, GRAM
  uint64_t row = 0;                   // DOTS, GRAM: sums a tile
  uint64_t tiles = 0;
  uint64_t result = 0;
};

// Checks every index and type of a plan and fills *plan. Returns "" or what is wrong.
std::string make_plan(const stockpot_plan_spec& spec, HostPlan* plan);

}  // namespace stockpot::cuda
