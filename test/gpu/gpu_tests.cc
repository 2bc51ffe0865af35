// Every operation of a backend library on its device against the plain reference on the processor.
//
//   gpu_tests LIBRARY [--small] [--json FILE]
//
// Means must have the bits of native/kernels/plain/mean.cc. Sums are compared with sums in more
// precision, and must have the same bits in every run. --small: what compute-sanitizer gets through
// in a minute. Without a device it says why and exits with 0.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>

#include "../../native/kernels/dispatch.h"
#include "../../native/stream/device_merge_job.h"
#include "../native/support/models.h"
#include "support/gather_cases.h"
#include "support/suite.h"

using namespace stockpot;
using namespace stockpot::test;

namespace {

// Host bytes on the device, at a multiple of 256 bytes and `skew` beyond.
struct OnDevice {
  OnDevice(Device& d, const uint8_t* data, size_t bytes, size_t skew = 0)
      : memory(d, bytes + skew + 64), address(memory.address() + skew) {
    d.copy_in(STOCKPOT_COMPUTE, address, data, bytes);
    d.synchronize();
  }
  Device::Memory memory;
  uint64_t address;
};

std::vector<uint8_t> fetch(Device& d, uint64_t from, size_t bytes) {
  std::vector<uint8_t> to(bytes);
  d.copy_out(STOCKPOT_COMPUTE, to.data(), from, bytes);
  d.synchronize();
  return to;
}

void means(Device& d, const std::vector<MeanCase>& cases) {
  struct Placed {
    MeanCase c;
    Expected expected;
    std::vector<OnDevice> inputs;
    std::unique_ptr<OnDevice> out, second;
  };
  std::vector<Placed> all;
  PlanTables tables;
  for (const MeanCase& c : cases) {
    Placed p{c, {}, {}, {}, {}};
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
      p.inputs.emplace_back(d, data.back().data() + c.skew, c.n * byte_size(type), c.skew);
      tables.inputs.push_back({p.inputs.back().address, static_cast<uint32_t>(type), 0});
    }
    p.expected = expect(c, data, w);
    const std::vector<uint8_t> poison(c.n * 8 + 32, 0xA5);
    p.out = std::make_unique<OnDevice>(d, poison.data(), poison.size(), c.skew);
    p.second = std::make_unique<OnDevice>(d, poison.data(), poison.size(), c.skew);
    t.out = p.out->address;
    t.out_dtype = static_cast<uint32_t>(c.out);
    t.second = c.has_second ? p.second->address : 0;
    t.second_dtype = static_cast<uint32_t>(c.second);
    tables.tensors.push_back(t);
    all.push_back(std::move(p));
  }
  Device::Memory reports(d, tables.tensors.size() * sizeof(stockpot_mean_report));
  d.fill_zero(STOCKPOT_COMPUTE, reports.address(),
              tables.tensors.size() * sizeof(stockpot_mean_report));
  const Device::Plan plan(d, tables.spec(STOCKPOT_MEAN, reports.address()));
  plan.run(nullptr, STOCKPOT_COMPUTE);
  d.synchronize();
  const auto bytes =
      fetch(d, reports.address(), tables.tensors.size() * sizeof(stockpot_mean_report));
  const auto* report = reinterpret_cast<const stockpot_mean_report*>(bytes.data());
  for (size_t i = 0; i < all.size(); ++i) {
    const Placed& p = all[i];
    const auto same = [&d](std::vector<uint8_t> want, uint64_t from) {
      const size_t bytes_wanted = want.size();
      want.resize(bytes_wanted + 16, 0xA5);  // nothing beyond the end is written
      return fetch(d, from, want.size()) == want;
    };
    check(same(p.expected.out, p.out->address), "mean: " + p.c.text());
    if (p.c.has_second) check(same(p.expected.second, p.second->address), "second: " + p.c.text());
    check(
        report[i].nonfinite == p.expected.nonfinite && report[i].overflows == p.expected.overflows,
        "report: " + p.c.text());
  }
  // The same plan with other weights: those of a power of two, so that zero weights show.
  if (tables.weights.empty()) return;
  const std::vector<double> zeros(tables.weights.size(), 0.0);
  plan.run(zeros.data(), STOCKPOT_COMPUTE);
  d.synchronize();
  for (size_t i = 0; i < all.size(); ++i) {
    const MeanCase& c = all[i].c;
    if (!c.weighted || c.out != DType::kF32 || all[i].expected.nonfinite) continue;
    std::vector<uint8_t> found = fetch(d, all[i].out->address, c.n * 4);
    for (size_t e = 0; e < c.n; ++e) found[e * 4 + 3] &= 0x7F;  // zeros of either sign
    check(found == std::vector<uint8_t>(c.n * 4), "new weights: " + c.text());
  }
}

std::vector<MeanCase> large_cases(size_t n) {
  std::vector<MeanCase> cases;
  for (DType t : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (size_t k : {2, 9}) {
      for (bool weighted : {false, true}) {
        MeanCase c;
        c.types.assign(k, t);
        c.out = t;
        c.has_second = true;  // in another type, in the same pass
        c.second = t == DType::kF32 ? DType::kBF16 : DType::kF32;
        c.weighted = weighted;
        c.n = n + k;
        cases.push_back(c);
      }
    }
  }
  MeanCase mixed;
  mixed.types = {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3, DType::kF32};
  mixed.n = n;
  cases.push_back(mixed);
  return cases;
}

double value(const Model& m, size_t tensor, size_t input, size_t e) {
  const DType t = m.types[input];
  return plain::load(t, m.input(tensor, input) + e * byte_size(t));
}
double other(const Model& m, size_t tensor, size_t e) {
  if (!m.other) return 0;
  return plain::load(m.other_type, m.other_of(tensor) + e * byte_size(m.other_type));
}

// Adding n products one after the other makes an error below n · 2^-53 of the sum of their
// magnitudes. The longest chain is a warp's part of a full tile of a Gram matrix, 8192 products
// (docs/numerics.md); errors of either sign mostly cancel, so this much less is asked for.
constexpr double kSumBound = 600 * 0x1p-53;

void compare(const Model& m, uint32_t operation, const std::vector<double>& found,
             const std::string& what) {
  const size_t k = m.types.size();
  const bool dots = operation == STOCKPOT_DOTS;
  bool close = true, symmetric = true;
  for (uint32_t g = 0; g <= m.groups.back(); ++g) {
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = 0; j < (dots ? 1 : k); ++j) {
        long double sum = 0, magnitude = 0;
        for (size_t n = 0; n < m.sizes.size(); ++n) {
          if (m.groups[n] != g) continue;
          for (size_t e = 0; e < m.sizes[n]; ++e) {
            const double r = other(m, n, e);
            const double x = value(m, n, i, e);
            const long double product =
                dots ? static_cast<long double>(r) * x
                     : static_cast<long double>(x - r) * (value(m, n, j, e) - r);
            sum += product;
            magnitude += std::fabs(product);
          }
        }
        const double got = found[dots ? g * k + i : (g * k + i) * k + j];
        close = close && std::fabs(static_cast<double>(got - sum)) <=
                             kSumBound * static_cast<double>(magnitude);
        if (!dots) symmetric = symmetric && got == found[(g * k + j) * k + i];
      }
    }
  }
  check(close, what + ": the sums");
  check(symmetric, what + ": symmetry");
}

// `skew`: bytes that every tensor lies beyond a multiple of 256.
std::vector<double> run_sums(Device& d, uint32_t operation, const Model& m, size_t skew) {
  const size_t count = m.results(operation);
  std::map<const uint8_t*, OnDevice> there;
  for (size_t n = 0; n < m.sizes.size(); ++n) {
    for (size_t i = 0; i < m.types.size(); ++i) {
      there.emplace(m.input(n, i),
                    OnDevice(d, m.input(n, i), m.sizes[n] * byte_size(m.types[i]), skew));
    }
    there.emplace(m.other_of(n),
                  OnDevice(d, m.other_of(n), m.sizes[n] * byte_size(m.other_type), skew));
  }
  Device::Memory result(d, count * 8);
  const PlanTables tables =
      tables_of(m, [&there](const uint8_t* p) { return there.at(p).address; });
  const Device::Plan plan(d, tables.spec(operation, result.address()));
  plan.run(nullptr, STOCKPOT_COMPUTE);
  d.synchronize();
  const auto bytes = fetch(d, result.address(), count * 8);
  std::vector<double> found(count);
  std::memcpy(found.data(), bytes.data(), bytes.size());
  return found;
}

void sums(Device& d, uint32_t operation, Model m, const std::string& kind) {
  const size_t k = m.types.size();
  const std::string name = kind + " of " + std::to_string(k) + ", first type " +
                           std::to_string(static_cast<int>(m.types[0])) + ", other of type " +
                           (m.other ? std::to_string(static_cast<int>(m.other_type)) : "none");
  const std::vector<double> found = run_sums(d, operation, m, 0);
  compare(m, operation, found, name);
  check(run_sums(d, operation, m, 0) == found, name + ": the same bits again");
  check(run_sums(d, operation, m, 1) == found, name + ": and wherever they lie");
  // A product does not depend on what else is asked for, among inputs of one type.
  m.types.resize(2);
  const std::vector<double> two = run_sums(d, operation, m, 0);
  bool same = true;
  for (uint32_t g = 0; g <= m.groups.back(); ++g) {
    for (size_t i = 0; i < 2; ++i) {
      if (operation == STOCKPOT_GRAM) {
        same = same && two[(g * 2 + i) * 2 + 1] == found[(g * k + i) * k + 1];
      } else {
        same = same && two[g * 2 + i] == found[g * k + i];
      }
    }
  }
  check(same, name + ": alone or with others");
}

void all_sums(Device& d, bool small) {
  // One, two and more blocks of eight rows; more than thirty-two.
  const std::vector<std::vector<DType>> types = {
      std::vector<DType>(3, DType::kF32),
      std::vector<DType>(9, DType::kF32),
      std::vector<DType>(17, DType::kBF16),
      std::vector<DType>(43, DType::kF16),
      std::vector<DType>(2, DType::kF64),
      std::vector<DType>(2, DType::kF8E5M2),
      {DType::kF32, DType::kF32, DType::kBF16, DType::kF8E4M3, DType::kF16},
      {DType::kBF16, DType::kF32, DType::kF64}};
  for (uint32_t operation : {STOCKPOT_DOTS, STOCKPOT_GRAM}) {
    for (const auto& t : types) {
      for (bool with_other : {true, false}) {
        if (operation == STOCKPOT_DOTS && !with_other) continue;
        for (DType other_type : {DType::kF32, DType::kBF16, DType::kF64}) {
          if (!with_other && other_type != DType::kF32) continue;
          const Model m = small ? made_up_model({5, 900, 0, 1, 2049}, {0, 0, 0, 2, 2}, t,
                                                other_type, with_other)
                                : made_up_model({5, 9000, 0, 1, 200001, 8192}, {0, 0, 0, 2, 2, 2},
                                                t, other_type, with_other);
          sums(d, operation, m, operation == STOCKPOT_DOTS ? "dots" : "Gram");
        }
      }
    }
  }
  // Around the tiles of both.
  for (size_t n : {8191, 8193, 65535, 65537}) {
    const Model m = made_up_model({n}, {0}, std::vector<DType>(2, DType::kBF16), DType::kF32, true);
    for (uint32_t operation : {STOCKPOT_DOTS, STOCKPOT_GRAM}) {
      compare(m, operation, run_sums(d, operation, m, 0), "a tile's end");
    }
  }
}

void memory(Device& d) {
  bool refused = false;
  try {
    const Device::Memory huge(d, uint64_t{1} << 50);
  } catch (const DeviceError& e) {
    refused = e.status == STOCKPOT_OUT_OF_MEMORY &&
              std::string(e.what()).find("asked for 1125899.91 GB") != std::string::npos;
    if (!refused) std::printf("said: %s\n", e.what());
  }
  check(refused, "out of memory says how much was asked for");
  const std::vector<uint8_t> bytes = made_up(DType::kF32, Kind::kAny, 1000);
  const OnDevice there(d, bytes.data(), bytes.size());
  check(fetch(d, there.address, bytes.size()) == bytes, "and the device goes on");
}

// A merge from files to a file, as the processor does it and as the device does.
void streaming(const stockpot_backend* backend, size_t elements) {
  const uint32_t k = 5;
  const DType types[] = {DType::kF32, DType::kBF16, DType::kF16};
  std::vector<FILE*> files;
  std::vector<std::vector<uint8_t>> made;
  const auto plan = [&](int fd, uint64_t memory) {
    MergePlan p;
    p.k = k;
    for (FILE* f : files) p.files.push_back(fileno(f));
    for (uint32_t s = 0; s < 6; ++s) {
      const uint64_t count = elements / (s + 1) + s;
      p.segments.push_back({Op::kMean, types[s % 3], count, 0, s == 4 ? 0 : -1});
      for (uint32_t i = 0; i < k; ++i) {
        p.sources.push_back({static_cast<int32_t>(i), types[(s + i) % 3], s * elements, nullptr});
      }
    }
    p.weights = {0.5, 0.25, -1, 2, 0.125};
    p.outputs.push_back({fd, {1, 2, 3}, 0});
    p.sink = SinkKind::kFile;
    size_t variants;
    p.kernel = mean_variants(&variants)[0].kernel;
    p.threads = 4;
    p.memory = memory;
    p.hash_prefix.assign(k, -1);
    return p;
  };
  for (uint32_t i = 0; i < k; ++i) {
    made.push_back(made_up(DType::kBF16, Kind::kWeights, elements * 5));
    files.push_back(std::tmpfile());
    check(files.back() &&
              std::fwrite(made[i].data(), 1, made[i].size(), files[i]) == made[i].size() &&
              std::fflush(files[i]) == 0,
          "a file to read");
  }
  FILE* expected = std::tmpfile();
  MergeJob by_processor(plan(fileno(expected), 64 << 20));
  by_processor.run();
  check(by_processor.error().kind == JobError::Kind::kNone, "the processor's merge");
  for (uint64_t memory_given : {uint64_t{4} << 20, uint64_t{256} << 20}) {
    FILE* found = std::tmpfile();
    DeviceMergeJob by_device(plan(fileno(found), memory_given), backend, 0);
    by_device.run();
    check(by_device.error().kind == JobError::Kind::kNone, "a merge: " + by_device.error().what);
    check(by_device.hashes() == by_processor.hashes(), "the same bytes from disk to disk");
    std::fclose(found);
  }
  std::fclose(expected);
  for (FILE* f : files) std::fclose(f);
}

void all(const stockpot_backend* backend, bool small) {
  Device device(backend, 0);
  std::vector<MeanCase> cases = mean_cases();
  if (small) {
    std::vector<MeanCase> few;
    for (size_t i = 0; i < cases.size(); i += 23) few.push_back(cases[i]);
    cases = few;
  }
  means(device, cases);
  std::printf("means: %d passed, %d failed\n", passed, failed);
  means(device, large_cases(small ? 20000 : 1000000));
  std::printf("and large ones: %d passed, %d failed\n", passed, failed);
  all_sums(device, small);
  std::printf("and sums: %d passed, %d failed\n", passed, failed);
  gathers(device, small);
  std::printf("and rows: %d passed, %d failed\n", passed, failed);
  if (!small) memory(device);
  streaming(backend, small ? 20000 : 3000000);
}

std::string facts(const stockpot_probe& probe, const stockpot_device_info& info) {
  char text[512];
  std::snprintf(text, sizeof(text),
                "\"device\": \"%s\", \"capability\": \"%d.%d\", \"driver\": %d, \"runtime\": %d, "
                "\"cublaslt\": %llu",
                info.name, info.major, info.minor, probe.driver_version, probe.runtime_version,
                static_cast<unsigned long long>(probe.matmul_version));
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const auto tests = [](const stockpot_backend* backend, const SuiteOptions& options) {
    all(backend, options.small);
  };
  return run_suite(argc, argv, tests, facts);
}
