// Networks of a backend library on its device against the executor on the processor.
//
//   network_tests LIBRARY [--small] [--json FILE]
//   network_tests LIBRARY --case FOLDER     a network that scripts/dump_network.mjs wrote
//
// In float32 all but the largest number's last digits agree (2e-5 of it); in bfloat16 and float16
// the error is that of rounding what each operation gives, and bounds are stated below. Without a
// device it says why and exits with 0.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "../../native/backend/library.h"
#include "support/network_dump.h"
#include "support/network_hostile.h"
#include "support/network_run.h"

using namespace stockpot;
using namespace stockpot::test;

namespace {

int passed = 0, failed = 0;

void check(bool holds, const std::string& what) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("failed: %s\n", what.c_str());
}

constexpr uint32_t kNumbers[] = {STOCKPOT_NUMBER_F32, STOCKPOT_NUMBER_BF16, STOCKPOT_NUMBER_F16};
const char* const kNames[] = {"float32", "bfloat16", "float16"};
// Of the largest number that is expected: of outputs, and of gradients.
constexpr double kForward[] = {2e-5, 0.03, 0.004}, kBackward[] = {2e-5, 0.06, 0.008};

double largest(const std::vector<float>& v) {
  double most = 0;
  for (float f : v) most = std::max(most, std::fabs(static_cast<double>(f)));
  return most;
}

// NaN is larger than any bound.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= most)) most = std::isnan(d) ? INFINITY : d;
  }
  return most;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

bool same_bits(const Found& a, const Found& b) {
  bool same = same_bits(a.out, b.out) && a.gradients.size() == b.gradients.size();
  for (size_t w = 0; same && w < a.gradients.size(); ++w)
    same = same_bits(a.gradients[w], b.gradients[w]);
  return same;
}

std::string text(double v) {
  char to[32];
  std::snprintf(to, sizeof(to), "%.2g", v);
  return to;
}

double worst[2][3];  // forward, backward; by number

// The network beside the processor, in each number; then the same network in pieces and in other
// batches, which must give the same bits.
void compare(Device& d, const NetworkCase& c) {
  for (uint32_t number : kNumbers) {
    const std::string name = c.name + " in " + kNames[number];
    const Found want = on_processor(c, number);
    OnDevice there(d, c, number, c.batch);
    const Found found = there.run();
    const double error = difference(found.out, want.out) / largest(want.out);
    worst[0][number] = std::max(worst[0][number], error);
    check(error <= kForward[number], name + ": the output is off by " + text(error));
    double all = 0;
    for (const auto& g : want.gradients) all = std::max(all, largest(g));
    for (size_t w = 0; w < want.gradients.size(); ++w) {
      // Some gradients are 0 but for rounding (of a key's bias), beside much larger ones.
      const double of = std::max(largest(want.gradients[w]), all / 20);
      const double e = difference(found.gradients[w], want.gradients[w]) / of;
      worst[1][number] = std::max(worst[1][number], e);
      check(e <= kBackward[number],
            name + ": the gradient of weight " + std::to_string(w) + " is off by " + text(e));
    }
  }
}

void same_in_any_batch(Device& d, const NetworkCase& c, uint32_t number) {
  const std::string name = c.name + " in " + kNames[number];
  OnDevice there(d, c, number, c.batch), forward_only(d, c, number, c.batch, false);
  there.forward(0, c.batch);
  const std::vector<float> all = there.out(c.batch);
  forward_only.forward(0, c.batch);
  check(same_bits(forward_only.out(c.batch), all), name + ": the same without training");
  const size_t row = all.size() / c.batch;
  for (uint32_t first = 0; first < c.batch; ++first) {
    for (uint32_t batch = 1; first + batch <= c.batch; ++batch) {
      there.forward(first, batch);
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first * row);
      check(same_bits(there.out(batch), {begin, begin + static_cast<std::ptrdiff_t>(batch * row)}),
            name + ": the same in a batch of " + std::to_string(batch));
    }
  }
}

void same_in_segments(Device& d, const NetworkCase& c, uint32_t number) {
  const std::string name = c.name + " in " + kNames[number];
  const GraphTables tables(c.graph);
  stockpot_network_spec spec = tables.spec(number, c.batch, true, 0);
  const auto whole = Device::Network::sizes(d, spec);
  check(whole.segments == 1, name + ": all is kept where nothing else is said");
  OnDevice keeps(d, c, number, c.batch);
  const Found want = keeps.run();
  for (uint64_t share : {0, 70, 85}) {
    spec.activation_bytes = std::max<uint64_t>(1, whole.activations * share / 100);
    const auto less = Device::Network::sizes(d, spec);
    check(less.segments > 1 && less.activations < whole.activations,
          name + ": what is computed again takes less");
    check(share == 0 || less.activations <= spec.activation_bytes, name + ": within its memory");
    check(less.weights == whole.weights && less.gradients == whole.gradients, name + ": sizes");
    OnDevice again(d, c, number, c.batch, true, spec.activation_bytes);
    check(same_bits(again.run(), want),
          name + ": the same bits in " + std::to_string(less.segments) + " segments");
  }
  check(same_bits(on_processor(c, number, 1), on_processor(c, number)),
        name + ": and on the processor");
}

// Gradients of parts of a batch add up.
void gradients_add_up(Device& d, const NetworkCase& c) {
  OnDevice there(d, c, STOCKPOT_NUMBER_F32, c.batch);
  const Found want = there.run();
  there.network().zero_gradients(STOCKPOT_COMPUTE);
  for (uint32_t first = 0; first < c.batch; ++first) {
    there.forward(first, 1);
    there.backward(first, 1);
  }
  const auto found = there.gradients();
  double all = 0, error = 0;
  for (const auto& g : want.gradients) all = std::max(all, largest(g));
  for (size_t w = 0; w < found.size(); ++w)
    error = std::max(error, difference(found[w], want.gradients[w]) / all);
  check(error <= kBackward[0], c.name + ": gradients add up, off by " + text(error));
}

// Two networks, on two streams, step by step.
void two_at_once(Device& d, const NetworkCase& a, const NetworkCase& b) {
  OnDevice first(d, a, STOCKPOT_NUMBER_F32, a.batch), second(d, b, STOCKPOT_NUMBER_BF16, b.batch);
  const Found want_first = first.run(), want_second = second.run();
  first.network().zero_gradients(STOCKPOT_COMPUTE);
  second.network().zero_gradients(STOCKPOT_COPY_IN);
  first.forward(0, a.batch, STOCKPOT_COMPUTE);
  second.forward(0, b.batch, STOCKPOT_COPY_IN);
  first.backward(0, a.batch, STOCKPOT_COMPUTE);
  second.backward(0, b.batch, STOCKPOT_COPY_IN);
  check(same_bits({first.out(a.batch), first.gradients()}, want_first) &&
            same_bits({second.out(b.batch), second.gradients()}, want_second),
        "two networks at once");
}

void images_of_bytes(Device& d) {
  Builder b("images of bytes");
  NetworkCase c = b.mean(b.linear(b.patches(3, 8, 4), 16));
  std::vector<uint8_t> bytes(c.floats[0].size());
  stockpot_network_input how{};
  how.bytes = 1;
  how.factor = 1.0f / 255;
  MadeUp made_up;
  for (int channel = 0; channel < 3; ++channel) {
    how.mean[channel] = 0.4f + 0.1f * static_cast<float>(channel);
    how.deviation[channel] = 0.2f + 0.1f * static_cast<float>(channel);
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(made_up.below(256));
    const size_t channel = i / 64 % 3;
    c.floats[0][i] =
        (static_cast<float>(bytes[i]) * how.factor - how.mean[channel]) / how.deviation[channel];
  }
  const Found want = on_processor(c, STOCKPOT_NUMBER_F32);
  OnDevice there(d, c, STOCKPOT_NUMBER_F32, c.batch);
  there.give_bytes(0, bytes, how);
  const Found found = there.run();
  check(difference(found.out, want.out) <= kForward[0] * largest(want.out), c.name);
}

// f must be refused with `status` and say `words`.
template <class F>
void refused(const F& f, uint32_t status, const char* words) {
  try {
    f();
    check(false, std::string("not refused: ") + words);
  } catch (const DeviceError& e) {
    check(e.status == status && std::string(e.what()).find(words) != std::string::npos,
          std::string("said ") + e.what() + ", not " + words);
  }
}

void memory_and_misuse(Device& d, const NetworkCase& c) {
  const GraphTables tables(c.graph);
  const uint64_t free_before = d.free_memory();
  refused([&] { Device::Network huge(d, tables.spec(STOCKPOT_NUMBER_BF16, 1 << 20, true, 0)); },
          STOCKPOT_OUT_OF_MEMORY, "asked for");
  check(d.free_memory() >= free_before, "what did not fit holds nothing");
  {
    const stockpot_network_spec spec = tables.spec(STOCKPOT_NUMBER_F32, 1 << 10, true, 0);
    const auto sizes = Device::Network::sizes(d, spec);
    const Device::Network there(d, spec);
    const uint64_t taken = free_before - d.free_memory();
    const uint64_t planned = sizes.weights + sizes.activations + sizes.gradients + sizes.scratch;
    // A device gives memory in pages.
    check(taken >= planned && taken < planned + (uint64_t{4} << 20), "as much as was planned");
  }
  check(d.free_memory() >= free_before, "a network gives its memory back");
  OnDevice there(d, c, STOCKPOT_NUMBER_F32, 2);
  refused([&] { there.backward(0, 2); }, STOCKPOT_INVALID, "must follow a forward pass");
  there.forward(0, 2);
  refused([&] { there.backward(0, 1); }, STOCKPOT_INVALID, "must follow a forward pass");
  refused([&] { there.forward(0, 3); }, STOCKPOT_INVALID, "larger than the network was made for");
  refused([&] { there.network().forward(nullptr, 1, 256, STOCKPOT_COMPUTE); }, STOCKPOT_INVALID,
          "inputs are missing");
  refused([&] { there.network().weight(1000); }, STOCKPOT_INVALID, "no such weight");
  OnDevice forward_only(d, c, STOCKPOT_NUMBER_F32, 2, false);
  check(forward_only.network().gradient(0) == 0, "no gradients without training");
  forward_only.forward(0, 2);
  refused([&] { forward_only.backward(0, 2); }, STOCKPOT_INVALID, "without a backward pass");
}

void hostile(Device& d, const std::vector<NetworkCase>& cases, bool small) {
  const auto plan = [&d](const stockpot_network_spec& spec) { Device::Network::sizes(d, spec); };
  for (const HostileSpec& h : hostile_specs(cases.back().graph)) {
    GraphTables tables = h.tables;
    stockpot_network_spec spec = tables.spec(STOCKPOT_NUMBER_BF16, 2, true, 0);
    h.spoil(tables, spec);
    refused([&] { plan(spec); }, STOCKPOT_INVALID, h.words);
  }
  int taken = 0;
  for (const NetworkCase& c : cases) {
    for (uint32_t round = 0; round < (small ? 200 : 2000); ++round) {
      const Mutated spec(c.graph, round);
      try {
        plan(spec.spec());
        ++taken;
      } catch (const DeviceError& e) {
        check(e.status == STOCKPOT_INVALID, std::string("a made-up spec: ") + e.what());
      }
    }
  }
  std::printf("%d made-up specs fit together\n", taken);
}

int run_case(Device& d, const char* folder) {
  const DumpedNetwork dumped = read_dump(folder);
  bool good = true;
  for (uint32_t number : kNumbers) {
    OnDevice there(d, dumped.network, number, dumped.network.batch, false);
    there.forward(0, dumped.network.batch);
    const double error =
        difference(there.out(dumped.network.batch), dumped.expected) / largest(dumped.expected);
    std::printf("%s: off by %s of the largest logit\n", kNames[number], text(error).c_str());
    good = good && error <= kForward[number];
  }
  return good ? 0 : 1;
}

void all(Device& d, bool small) {
  const std::vector<NetworkCase> operations = operation_cases(), networks = network_cases();
  for (const NetworkCase& c : operations) compare(d, c);
  std::printf("operations: %d passed, %d failed\n", passed, failed);
  for (const NetworkCase& c : networks) {
    compare(d, c);
    gradients_add_up(d, c);
    for (uint32_t number : kNumbers) {
      if (small && number == STOCKPOT_NUMBER_F16) continue;
      same_in_any_batch(d, c, number);
      same_in_segments(d, c, number);
    }
  }
  std::printf("and networks: %d passed, %d failed\n", passed, failed);
  two_at_once(d, networks[0], networks[3]);
  images_of_bytes(d);
  memory_and_misuse(d, networks[0]);
  hostile(d, networks, small);
  for (uint32_t number : kNumbers) {
    std::printf("%s: outputs off by at most %s, gradients by %s\n", kNames[number],
                text(worst[0][number]).c_str(), text(worst[1][number]).c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  bool small = false;
  const char *json = nullptr, *folder = nullptr;
  for (int i = 2; i < argc; ++i) {
    const std::string option = argv[i];
    small = small || option == "--small";
    if (option == "--json" && i + 1 < argc) json = argv[i + 1];
    if (option == "--case" && i + 1 < argc) folder = argv[i + 1];
  }
  std::string why;
  const stockpot_backend* backend = argc > 1 ? open_backend(argv[1], &why) : nullptr;
  if (!backend) {
    std::printf("network_tests: %s\n", why.empty() ? "expected a library" : why.c_str());
    return 1;
  }
  stockpot_probe probe{};
  backend->probe(&probe);
  if (probe.status != STOCKPOT_OK) {
    std::printf("skipped: %s\n", probe.message);
    return 0;
  }
  try {
    Device device(backend, 0);
    if (folder) return run_case(device, folder);
    all(device, small);
  } catch (const std::exception& e) {
    check(false, std::string("the device failed: ") + e.what());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  if (FILE* f = json ? std::fopen(json, "w") : nullptr) {
    std::fprintf(f, "{\"passed\": %d, \"failed\": %d", passed, failed);
    for (uint32_t number : kNumbers) {
      std::fprintf(f, ", \"%s\": {\"forward\": %.3g, \"backward\": %.3g}", kNames[number],
                   worst[0][number], worst[1][number]);
    }
    std::fprintf(f, "}\n");
    std::fclose(f);
  }
  return failed ? 1 : 0;
}
