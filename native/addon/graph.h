#pragma once
#include <napi.h>

#include "../executor/graph.h"

namespace stockpot {

// The graph that lib/models/graph.ts describes, every index and size checked. Throws a JavaScript
// TypeError.
Graph read_graph(Napi::Env env, const Napi::Value& v);

}  // namespace stockpot
