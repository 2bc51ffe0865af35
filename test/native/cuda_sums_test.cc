// Dot products and Gram matrices as the GPU's threads add them, run on the host, against sums in
// more precision by a plain loop; and that their bits follow from shapes and types alone.
#include <cstdio>

#include "support/host_run.h"
#include "support/models.h"

using namespace stockpot;
using namespace stockpot::test;

namespace {

int passed = 0, failed = 0;

void check(bool holds, const std::string& what) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("failed: %s\n", what.c_str());
}

std::vector<double> run(const Model& m, uint32_t operation) {
  std::vector<double> result(m.results(operation), -1);
  const PlanTables tables(m, [](const uint8_t* p) { return address(p); });
  cuda::HostPlan plan;
  const std::string wrong = cuda::make_plan(tables.spec(operation, address(result.data())), &plan);
  check(wrong.empty(), wrong);
  if (wrong.empty()) cuda::run_on_host(plan);
  return result;
}

double value(const Model& m, size_t tensor, size_t input, size_t e) {
  const DType t = m.types[input];
  return plain::load(t, m.input(tensor, input) + e * byte_size(t));
}
double other(const Model& m, size_t tensor, size_t e) {
  if (!m.other) return 0;
  return plain::load(m.other_type, m.other_of(tensor) + e * byte_size(m.other_type));
}

// The errors that adding n products in any order can make are below n · 2^-53 of the sum of their
// magnitudes; this bound is a hundredth of that, as the tree and the threads' short chains allow.
void compare(const Model& m, uint32_t operation, const std::vector<double>& found,
             const std::string& what) {
  const size_t k = m.types.size();
  const bool dots = operation == STOCKPOT_DOTS;
  bool close = true, symmetric = true;
  for (uint32_t g = 0; g <= m.groups.back(); ++g) {
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = 0; j < (dots ? 1 : k); ++j) {
        long double sum = 0, magnitude = 0;
        size_t count = 1;
        for (size_t n = 0; n < m.sizes.size(); ++n) {
          if (m.groups[n] != g) continue;
          count += m.sizes[n];
          for (size_t e = 0; e < m.sizes[n]; ++e) {
            const long double r = other(m, n, e);
            const long double product =
                dots ? r * value(m, n, i, e)
                     : static_cast<long double>(
                           static_cast<double>(value(m, n, i, e) - static_cast<double>(r))) *
                           static_cast<double>(value(m, n, j, e) - static_cast<double>(r));
            sum += product;
            magnitude += std::fabs(product);
          }
        }
        const double got = found[dots ? g * k + i : (g * k + i) * k + j];
        const double bound = static_cast<double>(magnitude) * (64 + count / 100.0) * 0x1p-53;
        close = close && std::fabs(static_cast<double>(got - sum)) <= bound;
        if (!dots) symmetric = symmetric && got == found[(g * k + j) * k + i];
      }
    }
  }
  check(close, what + ": the sums");
  check(symmetric, what + ": symmetry");
}

}  // namespace

int main() {
  const std::vector<DType> floats(9, DType::kF32);
  std::vector<DType> brains(17, DType::kBF16), halves(3, DType::kF16);
  std::vector<DType> mixed = {DType::kF32, DType::kBF16, DType::kF64, DType::kF8E4M3, DType::kF16};
  for (uint32_t operation : {STOCKPOT_DOTS, STOCKPOT_GRAM}) {
    const std::string name = operation == STOCKPOT_DOTS ? "dots" : "Gram";
    for (const auto& types : {floats, brains, halves, mixed}) {
      for (bool with_other : {true, false}) {
        if (operation == STOCKPOT_DOTS && !with_other) continue;
        for (DType other_type : {DType::kF32, DType::kBF16}) {
          // Around vectors, tiles, and an empty tensor; three groups, one of them empty.
          const Model m = made_up_model({5, 9000, 0, 1, 70001, 8192}, {0, 0, 0, 2, 2, 2}, types,
                                        other_type, with_other);
          const auto found = run(m, operation);
          compare(m, operation, found,
                  name + " of " + std::to_string(types.size()) + " of type " +
                      std::to_string(static_cast<int>(types[0])));
          check(found == run(m, operation), "the same bits again");
        }
      }
    }
  }
  // A product does not depend on what else is asked for: the first inputs alone, the same bits.
  Model m = made_up_model({9000, 300}, {0, 1}, floats, DType::kF32, true);
  const auto all = run(m, STOCKPOT_DOTS);
  m.types.resize(2);
  const auto two = run(m, STOCKPOT_DOTS);
  for (size_t g = 0; g < 2; ++g) {
    for (size_t i = 0; i < 2; ++i) check(two[g * 2 + i] == all[g * 9 + i], "alone or with others");
  }
  // Blocks of the Gram matrix above the diagonal, each once.
  for (uint32_t blocks = 1; blocks < 12; ++blocks) {
    uint32_t index = 0;
    for (uint32_t row = 0; row < blocks; ++row) {
      for (uint32_t column = row; column < blocks; ++column, ++index) {
        const cuda::GramPosition p = cuda::gram_position(index, blocks);
        check(p.row == row && p.column == column, "position of a block");
      }
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
