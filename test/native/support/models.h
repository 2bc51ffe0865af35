#pragma once
// Made-up ingredients of several tensors, for dot products and Gram matrices.
#include <algorithm>
#include <functional>

#include "../../../native/backend/plan_tables.h"
#include "cases.h"

namespace stockpot::test {

inline uint64_t address(const void* p) { return reinterpret_cast<uint64_t>(p); }

// Bytes at a multiple of sixteen.
class Aligned {
 public:
  explicit Aligned(const std::vector<uint8_t>& bytes) : words_(bytes.size() / 8 + 4) {
    std::copy(bytes.begin(), bytes.end(), const_cast<uint8_t*>(data()));
  }
  const uint8_t* data() const {
    return reinterpret_cast<const uint8_t*>((address(words_.data()) + 15) / 16 * 16);
  }

 private:
  std::vector<uint64_t> words_;
};

struct Model {
  std::vector<size_t> sizes;
  std::vector<uint32_t> groups;  // one a tensor
  std::vector<DType> types;      // one an ingredient
  DType other_type = DType::kF32;
  bool other = true;
  std::vector<std::vector<Aligned>> data;  // tensor, ingredient
  std::vector<Aligned> others;

  const uint8_t* input(size_t tensor, size_t i) const { return data[tensor][i].data(); }
  const uint8_t* other_of(size_t tensor) const { return others[tensor].data(); }
  size_t results(uint32_t operation) const {
    const size_t k = types.size();
    return (groups.back() + 1) * (operation == STOCKPOT_DOTS ? k : k * k);
  }
};

inline Model made_up_model(std::vector<size_t> sizes, std::vector<uint32_t> groups,
                           std::vector<DType> types, DType other_type, bool other) {
  Model m{std::move(sizes), std::move(groups), std::move(types), other_type, other, {}, {}};
  for (size_t n : m.sizes) {
    m.data.emplace_back();
    for (DType t : m.types) m.data.back().emplace_back(made_up(t, Kind::kWeights, n));
    m.others.emplace_back(made_up(other_type, Kind::kWeights, n));
  }
  return m;
}

// The tables of a plan over a model; `place` gives the address that the bytes at a pointer have
// where the plan runs.
inline PlanTables tables_of(const Model& m, const std::function<uint64_t(const uint8_t*)>& place) {
  PlanTables tables;
  tables.groups = m.groups.back() + 1;
  for (size_t n = 0; n < m.sizes.size(); ++n) {
    stockpot_tensor t{};
    t.elements = m.sizes[n];
    t.first_input = static_cast<uint32_t>(tables.inputs.size());
    t.inputs = static_cast<uint32_t>(m.types.size());
    t.group = m.groups[n];
    t.other = m.other ? place(m.other_of(n)) : 0;
    t.other_dtype = static_cast<uint32_t>(m.other_type);
    tables.tensors.push_back(t);
    for (size_t i = 0; i < m.types.size(); ++i)
      tables.inputs.push_back({place(m.input(n, i)), static_cast<uint32_t>(m.types[i]), 0});
  }
  return tables;
}

}  // namespace stockpot::test
