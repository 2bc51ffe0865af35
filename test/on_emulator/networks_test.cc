// Networks on the emulated device with a cuBLASLt that is emulated (support/cublaslt.cc): products,
// the file of choices, and passes that are replayed as CUDA graphs, which are counted here.
//
//   networks_test CUBLASLT FOLDER
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "../../native/backend/cuda/network_graphs.h"
#include "../gpu/support/compare.h"
#include "../gpu/support/network_repeats.h"
#include "../gpu/support/suite.h"

using namespace stockpot;
using namespace stockpot::test;

extern "C" const stockpot_backend* stockpot_backend_v1(uint32_t version);

namespace {

std::string read(const std::string& file) {
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

// A network in bfloat16, whose products cuBLASLt computes, beside the processor's; what was chosen
// is found in the file by the next context.
void products(const NetworkCase& c, const std::string& file) {
  std::remove(file.c_str());
  Device first(stockpot_backend_v1(1), 0);
  const Found want = on_processor(c, STOCKPOT_NUMBER_BF16);
  const Found found = OnDevice(first, c, STOCKPOT_NUMBER_BF16, c.batch).run();
  check(difference(found.out, want.out) <= 0.03 * largest(want.out), c.name + ": the output");
  double all = 0;
  for (const auto& g : want.gradients) all = std::max(all, largest(g));
  for (size_t w = 0; w < want.gradients.size(); ++w) {
    check(difference(found.gradients[w], want.gradients[w]) <= 0.06 * all,
          c.name + ": the gradient of weight " + std::to_string(w));
  }
  const std::string once = read(file);
  check(once.find("bf16,") != std::string::npos, c.name + ": choices are written");
  Device second(stockpot_backend_v1(1), 0);
  check(same_bits(OnDevice(second, c, STOCKPOT_NUMBER_BF16, c.batch).run(), found),
        c.name + ": the same bits with choices from the file");
  check(read(file) == once, c.name + ": nothing is timed again");
}

uint64_t launched(const std::function<void()>& f) {
  const uint64_t before = emulator::graphs.launched;
  f();
  return emulator::graphs.launched - before;
}

void graphs(const NetworkCase& c, uint32_t number) {
  const std::string name = c.name + " in " + kNames[number];
  Device d(stockpot_backend_v1(1), 0);
  {
    OnDevice there(d, c, number, c.batch);
    check(launched([&] { there.run(); }) == 0, name + ": the first time is launched plainly");
    check(launched([&] { there.run(); }) == 2, name + ": the second is captured, both passes");
    check(launched([&] { there.run(); }) == 2 && emulator::graphs.there == 2, name + ": replayed");
    check(launched([&] { there.forward(1, 1); }) == 0, name + ": another place is another pass");
    check(launched([&] { there.forward(1, 1); }) == 1, name + ": which comes again");
    // Far more passes than are remembered.
    std::vector<Device::Memory> places;
    const GraphTables tables(c.graph);
    for (int n = 0; n < 40; ++n) {
      there.move_output();
      for (int times = 0; times < 2; ++times) there.forward(0, c.batch);
    }
    check(emulator::graphs.there <= 16, name + ": few are kept");
  }
  check(emulator::graphs.there == 0, name + ": they go with the network");
  check(launched([&] { repeated_passes(d, c, number); }) > 10, name + ": repeated passes");
}

// What cannot be captured is launched kernel by kernel, once and for good.
void refusals(const NetworkCase& c) {
  Device d(stockpot_backend_v1(1), 0);
  const Found want = OnDevice(d, c, STOCKPOT_NUMBER_BF16, c.batch).run();
  for (const emulator::Step step : {emulator::Step::kBegin, emulator::Step::kEnd,
                                    emulator::Step::kInstantiate, emulator::Step::kLaunch}) {
    OnDevice there(d, c, STOCKPOT_NUMBER_BF16, c.batch);
    there.run();
    emulator::graphs.failing = step;
    check(same_bits(there.run(), want), "a refused capture: the same bits");
    emulator::graphs.failing = emulator::Step::kNone;
    check(launched([&] { check(same_bits(there.run(), want), "and afterwards"); }) == 0,
          "what was refused is not tried again");
    check(emulator::graphs.there == 0, "and nothing is left of it");
  }
}

// ViT-B/32's layers, without weights.
void limits() {
  Builder b("ViT-B/32");
  int32_t x = b.value(50, 768);
  const auto linear = [&](int32_t from, uint64_t n) {
    const int32_t to = b.value(50, n);
    b.op(OpKind::kLinear, to).x = from;
    return to;
  };
  for (int i = 0; i < 12; ++i) {
    const int32_t qkv = linear(b.unary(OpKind::kLayerNorm, x), 3 * 768), mixed = b.value(50, 768);
    GraphOp& attention = b.op(OpKind::kAttention, mixed);
    attention.x = attention.y = attention.z = qkv;
    attention.numbers = {0, 768, 1536, 12, 64, 1, 0, 0};
    x = linear(linear(b.unary(OpKind::kLayerNorm, linear(mixed, 768)), 3072), 768);
  }
  const Graph graph = b.done(x).graph;
  const auto dominate = [&](cuda::Number number, uint64_t batch) {
    return cuda::launches_dominate(graph, number, batch);
  };
  check(dominate(cuda::Number::kBF16, 16), "launches dominate 16 images of ViT-B/32");
  check(!dominate(cuda::Number::kBF16, 128), "but not 128");
  check(dominate(cuda::Number::kF32, 2) && !dominate(cuda::Number::kF32, 16),
        "and in float32 only a few");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  setenv("STOCKPOT_CUBLASLT", arguments[1], 1);
  setenv("XDG_CACHE_HOME", arguments[2], 1);
  const std::vector<NetworkCase> cases = network_cases();
  products(cases[0], std::string(arguments[2]) + "/stockpot/matmul-emulated-130002.txt");
  graphs(cases[0], STOCKPOT_NUMBER_F32);
  graphs(cases[1], STOCKPOT_NUMBER_BF16);
  graphs(cases[4], STOCKPOT_NUMBER_F16);
  refusals(cases[3]);
  limits();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
