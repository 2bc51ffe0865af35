#pragma once
// Networks that scripts/dump_network.mjs wrote.
#include "network_cases.h"

namespace stockpot::test {

struct DumpedNetwork {
  NetworkCase network;
  std::vector<float> expected;  // the output of the batch
};

// Throws std::runtime_error.
DumpedNetwork read_dump(const std::string& folder);

}  // namespace stockpot::test
