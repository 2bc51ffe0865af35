#pragma once
#include <string>

#include "../../executor/graph.h"
#include "../backend.h"

namespace stockpot::cuda {

// The graph that a spec's tables describe. Returns "" or what is wrong with it: tables that are not
// there, indexes and sizes that do not fit together (executor/graph.h), and what the device's
// kernels do not do.
std::string read_graph(const stockpot_network_spec& spec, Graph* graph);

}  // namespace stockpot::cuda
