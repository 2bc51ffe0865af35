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

#include "support/compare.h"
#include "support/network_dump.h"
#include "support/network_hostile.h"
#include "support/network_repeats.h"
#include "support/network_run.h"
#include "support/suite.h"

using namespace stockpot;
using namespace stockpot::test;

namespace {

constexpr uint32_t kNumbers[] = {STOCKPOT_NUMBER_F32, STOCKPOT_NUMBER_BF16, STOCKPOT_NUMBER_F16};
// Of the largest number that is expected: of outputs, and of gradients.
constexpr double kForward[] = {2e-5, 0.03, 0.004}, kBackward[] = {2e-5, 0.06, 0.008};

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

// In float16 derivatives far below its least number, 2^-24, give what they give where it holds
// them; one that grows beyond its range is an error.
void small_derivatives(Device& d) {
  Builder b("derivatives in float16");
  Builder::Linear up;
  up.activation = Activation::kGelu;
  const NetworkCase c = b.mean(b.linear(b.linear(b.norm(b.tokens(3, 16)), 32, up), 16));
  OnDevice there(d, c, STOCKPOT_NUMBER_F16, c.batch);
  const Found want = there.run();
  for (const float by : {0x1p-20f, 0x1p-60f, 0x1p30f}) {
    std::vector<float> dout = made_up_dout(c);
    for (float& v : dout) v *= by;
    there.set_dout(dout);
    Found found = there.run();
    for (auto& g : found.gradients) {
      for (float& v : g) v /= by;
    }
    check(same_bits(found, want), c.name + " times " + text(static_cast<double>(by)));
  }
  // What was there before is added to.
  there.set_dout(made_up_dout(c));
  there.run();
  there.forward(0, c.batch);
  there.backward(0, c.batch);
  const auto twice = there.gradients();
  double error = 0;
  for (size_t w = 0; w < twice.size(); ++w) {
    std::vector<float> sum = want.gradients[w];
    for (float& v : sum) v *= 2;
    error = std::max(error, difference(twice[w], sum) / largest(sum));
  }
  check(error <= kBackward[0], c.name + ", twice: off by " + text(error));
  there.set_dout(std::vector<float>(made_up_dout(c).size(), 0.0f));
  double most = 0;
  for (const auto& g : there.run().gradients) most = std::max(most, largest(g));
  check(most == 0, c.name + ", none");

  Builder steep("a network that is too steep for float16");
  NetworkCase s = steep.mean(steep.linear(steep.linear(steep.tokens(3, 8), 16), 8));
  for (float& v : s.weights[0]) v *= 1e-6f;
  for (size_t w : {size_t{1}, size_t{3}}) {
    for (float& v : s.weights[w]) v *= 1000;
  }
  OnDevice half(d, s, STOCKPOT_NUMBER_F16, s.batch), other(d, s, STOCKPOT_NUMBER_BF16, s.batch);
  refused([&] { half.run(); }, STOCKPOT_FAILED, "Use bf16 or f32");
  other.run();
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

void run_case(Device& d, const std::string& folder) {
  const DumpedNetwork dumped = read_dump(folder);
  for (uint32_t number : kNumbers) {
    OnDevice there(d, dumped.network, number, dumped.network.batch, false);
    there.forward(0, dumped.network.batch);
    const double error =
        difference(there.out(dumped.network.batch), dumped.expected) / largest(dumped.expected);
    std::printf("%s: off by %s of the largest logit\n", kNames[number], text(error).c_str());
    check(error <= kForward[number], folder + " in " + kNames[number]);
  }
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
      repeated_passes(d, c, number);
    }
  }
  std::printf("and networks: %d passed, %d failed\n", passed, failed);
  two_at_once(d, networks[0], networks[3]);
  images_of_bytes(d);
  small_derivatives(d);
  memory_and_misuse(d, networks[0]);
  hostile(d, networks, small);
  for (uint32_t number : kNumbers) {
    std::printf("%s: outputs off by at most %s, gradients by %s\n", kNames[number],
                text(worst[0][number]).c_str(), text(worst[1][number]).c_str());
  }
}

std::string facts(const stockpot_probe&, const stockpot_device_info&) {
  std::string all;
  for (uint32_t number : kNumbers) {
    all += std::string(number ? ", \"" : "\"") + kNames[number] +
           "\": {\"forward\": " + text(worst[0][number]) +
           ", \"backward\": " + text(worst[1][number]) + "}";
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const auto tests = [](const stockpot_backend* backend, const SuiteOptions& options) {
    Device device(backend, 0);
    options.folder.empty() ? all(device, options.small) : run_case(device, options.folder);
  };
  return run_suite(argc, argv, tests, facts);
}
