// What the threads of the GPU's averaging kernel do, run on the host, against the plain mean, bit
// for bit; and the parts that it is made of.
#include <algorithm>
#include <cstdio>
#include <set>

#include "../../native/backend/plan_tables.h"
#include "../../native/kernels/cuda/gram_tables.h"
#include "support/cases.h"
#include "support/host_run.h"

using namespace stockpot;
using namespace stockpot::test;

namespace {

int passed = 0, failed = 0;

void check(bool holds, const std::string& what) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("failed: %s\n", what.c_str());
}

uint64_t address(const void* p) { return reinterpret_cast<uint64_t>(p); }

// Memory at a multiple of sixteen bytes, or one byte beyond.
struct Memory {
  explicit Memory(size_t bytes, size_t skew = 0) : words(bytes / 8 + 8), skew_(skew) {}
  uint8_t* data() {
    return reinterpret_cast<uint8_t*>((address(words.data()) + 15) / 16 * 16) + skew_;
  }
  std::vector<uint64_t> words;
  size_t skew_;
};

// All cases as the tensors of one plan, as a model's are.
void means() {
  struct Placed {
    MeanCase c;
    Expected expected;
    std::vector<Memory> inputs;
    Memory out{0}, second{0};
  };
  std::vector<Placed> all;
  PlanTables tables;
  for (const MeanCase& c : mean_cases()) {
    Placed p{c, {}, {}, Memory(c.n * 8 + 64, c.skew), Memory(c.n * 8 + 64, c.skew)};
    std::vector<std::vector<uint8_t>> data;
    const std::vector<double> w = made_up_weights(c.types.size());
    stockpot_tensor t{};
    t.elements = c.n;
    t.first_input = static_cast<uint32_t>(tables.inputs.size());
    t.inputs = static_cast<uint32_t>(c.types.size());
    t.weights = c.weighted ? static_cast<int32_t>(tables.weights.size()) : -1;
    if (c.weighted) tables.weights.insert(tables.weights.end(), w.begin(), w.end());
    for (DType type : c.types) {
      data.push_back(made_up(type, c.kind, c.n, c.skew));
      p.inputs.emplace_back(data.back().size(), c.skew);
      std::copy(data.back().begin() + static_cast<ptrdiff_t>(c.skew), data.back().end(),
                p.inputs.back().data());
      tables.inputs.push_back({address(p.inputs.back().data()), static_cast<uint32_t>(type), 0});
    }
    p.expected = expect(c, data, w);
    std::memset(p.out.data(), 0xA5, c.n * 8 + 32);
    std::memset(p.second.data(), 0xA5, c.n * 8 + 32);
    t.out = address(p.out.data());
    t.out_dtype = static_cast<uint32_t>(c.out);
    t.second = c.has_second ? address(p.second.data()) : 0;
    t.second_dtype = static_cast<uint32_t>(c.second);
    tables.tensors.push_back(t);
    all.push_back(std::move(p));
  }
  std::vector<stockpot_mean_report> reports(tables.tensors.size());
  cuda::HostPlan plan;
  const std::string wrong =
      cuda::make_plan(tables.spec(STOCKPOT_MEAN, address(reports.data())), &plan);
  check(wrong.empty(), wrong);
  std::set<std::pair<cuda::Types, bool>> kinds;
  for (const cuda::Facts& f : plan.facts) kinds.emplace(f.types, f.equal);
  check(kinds.size() == 10, "five kinds of types, equal and weighted, in one launch");
  cuda::run_on_host(plan);
  for (size_t i = 0; i < all.size(); ++i) {
    Placed& p = all[i];
    const auto same = [](const std::vector<uint8_t>& want, uint8_t* found) {
      const bool beyond = std::all_of(found + want.size(), found + want.size() + 16,
                                      [](uint8_t b) { return b == 0xA5; });
      return beyond && std::memcmp(want.data(), found, want.size()) == 0;
    };
    check(same(p.expected.out, p.out.data()) &&
              (!p.c.has_second || same(p.expected.second, p.second.data())) &&
              reports[i].nonfinite == p.expected.nonfinite &&
              reports[i].overflows == p.expected.overflows,
          p.c.text());
  }
}

void rounding() {
  const auto check_value = [](double q) {
    if (!cuda::is_ordinary(q)) return;
    bool overflow = false;
    const bool right =
        cuda::round_bits<DType::kF32>(q) == plain::round_to(DType::kF32, q, &overflow) &&
        cuda::round_bits<DType::kF16>(q) == plain::round_to(DType::kF16, q, &overflow) &&
        cuda::round_bits<DType::kBF16>(q) == plain::round_to(DType::kBF16, q, &overflow);
    check(right, "rounding of " + std::to_string(q));
  };
  for (int i = 0; i < 100000; ++i) {
    const uint64_t bits = engine()();
    // Any mantissa, and mantissas near ties of both types, at exponents of float16 and of float32.
    const uint64_t near_tie = (bits & 0xFFE0000000000000u) | (bits & 7);
    const int exponent = static_cast<int>(bits >> 20 & 63) - 40;
    for (uint64_t m : {bits, near_tie, near_tie - 3, (bits >> 42 << 42) + (bits & 3) - 1}) {
      const double one = plain::from_bits64((m & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u);
      check_value(std::ldexp(bits & 1 << 20 ? -one : one, exponent));
    }
  }
  check_value(0.0);
  check_value(-0.0);
  check(!cuda::is_ordinary(HUGE_VAL) && !cuda::is_ordinary(NAN) && !cuda::is_ordinary(0x1p-127) &&
            !cuda::is_ordinary(-0x1p127) && cuda::is_ordinary(-0x1p-126),
        "what is ordinary");
}

void division() {
  for (uint32_t k = 1; k < 3000; ++k) {
    const double reciprocal = 1.0 / k;
    for (int i = 0; i < 200; ++i) {
      // Sums of float32 values, quotients that are next to a tie, and any bits.
      const uint64_t bits = engine()();
      double s = std::ldexp(static_cast<double>(static_cast<int64_t>(bits) >> 20), -60);
      if (i % 3 == 0) s = plain::from_bits64((bits & 0x800FFFFFFFFFFFFFu) | 0x3FF0000000000000u);
      if (i % 3 == 1)
        s = std::nextafter(plain::from_bits64(plain::to_bits64(s)) * k, bits % 2 ? 9 : -9);
      const double q = s / k;
      if (!cuda::is_ordinary(q)) continue;
      const double found = cuda::divide(s, k, reciprocal);
      if (plain::to_bits64(found) != plain::to_bits64(q)) {
        check(false, std::to_string(s) + " / " + std::to_string(k));
        return;
      }
    }
  }
  check(std::signbit(cuda::divide(-0.0, 3, 1.0 / 3)), "-0 / 3 is -0");
}

void halves() {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const uint16_t b = static_cast<uint16_t>(bits);
    const double half = plain::load(DType::kF16, reinterpret_cast<const uint8_t*>(&b));
    const double brain = plain::load(DType::kBF16, reinterpret_cast<const uint8_t*>(&b));
    const cuda::Words w{{bits << 16, bits, 0, 0}};
    const double found[] = {cuda::element<DType::kF16>(w, 1), cuda::element<DType::kF16>(w, 2),
                            cuda::element<DType::kBF16>(w, 1), cuda::element<DType::kBF16>(w, 2)};
    bool same = true;
    for (int i = 0; i < 4; ++i) {
      const double want = i < 2 ? half : brain;
      same = same && (std::isnan(want) ? std::isnan(found[i])
                                       : plain::to_bits64(want) == plain::to_bits64(found[i]));
    }
    if (bits < 256) {
      const uint8_t byte = static_cast<uint8_t>(bits);
      for (bool e5m2 : {false, true}) {
        const double want = plain::load(e5m2 ? DType::kF8E5M2 : DType::kF8E4M3, &byte);
        const double got = cuda::fp8_value(e5m2, bits);
        same = same && (std::isnan(want) ? std::isnan(got)
                                         : plain::to_bits64(want) == plain::to_bits64(got));
      }
    }
    if (!same) return check(false, "value of pattern " + std::to_string(bits));
  }
  check(true, "values of 16-bit patterns");
  for (int i = 0; i < 1000; ++i) {
    const uint32_t a = static_cast<uint32_t>(engine()()), b = static_cast<uint32_t>(engine()());
    const uint32_t al = a & 0xFFFF, bl = b & 0xFFFF, ah = a >> 16, bh = b >> 16;
    check(cuda::max_halves(a, b) == (std::max(ah, bh) << 16 | std::max(al, bl)) &&
              cuda::min_halves(a, b) == (std::min(ah, bh) << 16 | std::min(al, bl)) &&
              cuda::minus_one_halves(a) == (((ah - 1) & 0xFFFF) << 16 | ((al - 1) & 0xFFFF)) &&
              cuda::minus_one_halves(0) == 0xFFFFFFFFu,
          "halves of a word");
  }
}

void tiles() {
  std::vector<cuda::Facts> facts(5);
  const uint64_t first[] = {0, 3, 4, 10, 11};
  for (int i = 0; i < 5; ++i) facts[static_cast<size_t>(i)].first_tile = first[i];
  const size_t want[] = {0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 3, 4, 4};
  for (uint64_t tile = 0; tile < 13; ++tile) {
    check(&cuda::find_tensor(facts.data(), 5, tile) == &facts[want[tile]], "tensor of a tile");
  }
  // Blocks of a Gram matrix on and above the diagonal, each once.
  for (uint32_t blocks = 1; blocks < 12; ++blocks) {
    uint32_t index = 0;
    for (uint32_t row = 0; row < blocks; ++row) {
      for (uint32_t column = row; column < blocks; ++column, ++index) {
        const cuda::GramPosition p = cuda::gram_position(index, blocks);
        check(p.row == row && p.column == column && cuda::gram_index(p, blocks) == index,
              "position of a block");
      }
    }
  }
}

void bad_plans() {
  double weight = 1;
  stockpot_mean_report report{};
  const stockpot_input input{16, static_cast<uint32_t>(DType::kF32), 0};
  stockpot_tensor tensor{};
  tensor.elements = tensor.inputs = 1;
  tensor.weights = -1;
  tensor.out = 16;
  tensor.out_dtype = tensor.second_dtype = static_cast<uint32_t>(DType::kF32);
  stockpot_plan_spec good{sizeof(good), STOCKPOT_MEAN,   1, 1, 1, 0, &tensor, &input,
                          &weight,      address(&report)};
  cuda::HostPlan plan;
  check(cuda::make_plan(good, &plan).empty(), "a good plan");
  const auto refused = [&](auto change) {
    stockpot_tensor t = tensor;
    stockpot_input in = input;
    stockpot_plan_spec s = good;
    s.tensors = &t;
    s.inputs = &in;
    change(s, t, in);
    cuda::HostPlan ignored;
    return !cuda::make_plan(s, &ignored).empty();
  };
  using Spec = stockpot_plan_spec;
  using Tensor = stockpot_tensor;
  using Input = stockpot_input;
  check(refused([](Spec& s, Tensor&, Input&) { s.size = 8; }), "size");
  check(refused([](Spec& s, Tensor&, Input&) { s.operation = 9; }), "operation");
  check(refused([](Spec& s, Tensor&, Input&) { s.tensor_count = 0; }), "no tensors");
  check(refused([](Spec& s, Tensor&, Input&) { s.result = 0; }), "no result");
  check(refused([](Spec&, Tensor& t, Input&) { t.inputs = 0; }), "no inputs");
  check(refused([](Spec&, Tensor& t, Input&) { t.inputs = 2; }), "too many inputs");
  check(refused([](Spec&, Tensor& t, Input&) { t.first_input = 0xFFFFFFFF; }), "first input");
  check(refused([](Spec&, Tensor& t, Input&) { t.weights = 1; }), "weights");
  check(refused([](Spec&, Tensor& t, Input&) { t.weights = -2; }), "negative weights");
  check(refused([](Spec&, Tensor& t, Input&) { t.out = 0; }), "no output");
  check(refused([](Spec&, Tensor& t, Input&) { t.out_dtype = 4; }), "output's type");
  check(refused([](Spec&, Tensor&, Input& i) { i.dtype = 6; }), "input's type");
  check(refused([](Spec&, Tensor&, Input& i) { i.data = 0; }), "input's address");
  check(refused([](Spec& s, Tensor&, Input&) { s.operation = STOCKPOT_DOTS; }), "no groups");
  check(refused([](Spec& s, Tensor& t, Input&) {
          s.operation = STOCKPOT_GRAM;
          s.group_count = 2;
          t.group = 2;
          t.elements = 0;
        }),
        "the group of an empty tensor");
  check(refused([](Spec& s, Tensor&, Input&) {
          s.operation = STOCKPOT_GRAM;
          s.group_count = 0xFFFFFFFF;
        }),
        "too many groups");
}

}  // namespace

int main() {
  halves();
  rounding();
  division();
  tiles();
  bad_plans();
  means();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
