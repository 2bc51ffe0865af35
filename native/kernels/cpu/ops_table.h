#pragma once
// All operations of network_ops.h for one instruction set.
#include "ops_backward.h"
#include "ops_vector.h"

namespace stockpot::vector {

template <class V>
constexpr NetworkOps table(const char* name) {
  return {name,
          2 * V::kLanes,
          V::kRowTile,
          gemm<V>,
          layer_norm<V>,
          rms_norm<V>,
          softmax<V>,
          log_sum_exp<V>,
          add<V>,
          add_rows<V>,
          activate_all<V>,
          activation_gradient<V>,
          layer_norm_gradient<V>,
          rms_norm_gradient<V>,
          softmax_gradient<V>};
}

}  // namespace stockpot::vector
