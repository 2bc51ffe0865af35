// native/backend/cuda/products.cc with a cuBLASLt that is emulated (support/cublaslt.cc): what it
// is asked for, and the file of choices.
//
//   products_test CUBLASLT FOLDER
#include "../../native/backend/cuda/products.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "../../native/backend/cuda/choices.h"
#include "support/products.h"

using namespace stockpot::test;

namespace {

int passed = 0, failed = 0;

void check(bool holds, const std::string& what) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("failed: %s\n", what.c_str());
}

std::string read(const std::string& file) {
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

size_t lines(const std::string& text) {
  size_t n = 0;
  for (char c : text) n += c == '\n';
  return n;
}

void all(Products& products, void* workspace) {
  for (Number number : {Number::kF32, Number::kBF16, Number::kF16}) {
    for (const Case& c : cases()) {
      const uint64_t rows = c.a_transposed ? c.k : c.m;
      run(
          number, c, name_of(number, c),
          [&](const Matmul& p) { return products.multiply(p, rows, workspace, nullptr); }, check);
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  setenv("STOCKPOT_CUBLASLT", arguments[1], 1);
  const std::string folder = std::string(arguments[2]) + "/made/here";
  const std::string file = folder + "/matmul-An-emulated-GPU-130002.txt";
  std::remove(file.c_str());
  std::vector<uint8_t> workspace(Products::kWorkspace);
  const auto make = [&] { return Products("An emulated/GPU", folder); };
  {
    Products products = make();
    all(products, workspace.data());
    const std::string once = read(file);
    check(lines(once) > 20, "choices are written");
    all(products, workspace.data());
    Products again = make();
    all(again, workspace.data());
    check(read(file) == once, "what was chosen is not timed again");
  }
  {
    // The slow one is never the choice; a choice that the file names is taken.
    const Choices choices(folder, "matmul-An emulated/GPU-130002");
    size_t slow = 0;
    std::stringstream text(read(file));
    for (std::string product, at, of; text >> product >> at >> of;) slow += at != "1" || of != "2";
    check(slow == 0, "the fastest is chosen");
    check(choices.find("bf16,1", 2) == -1, "what is not there is not found");
  }
  {
    std::ofstream(file)
        << "bf16,1,n 0 2\nbf16,2,n 7 2\nbf16,3,n -1 2\n../../x 0 2\nbf16,4,n 1 2 3\n"
        << std::string(5000, 'a') << " 1 2\nbf16,5,n 1 2";
    const Choices choices(folder, "matmul-An emulated/GPU-130002");
    check(choices.find("bf16,1,n", 2) == 0, "a good line counts");
    check(choices.find("bf16,1,n", 3) == -1, "but not among other candidates");
    for (const char* bad : {"bf16,2,n", "bf16,3,n", "../../x", "bf16,4,n", "bf16,5,n"})
      check(choices.find(bad, 2) == -1, std::string("a bad line counts for nothing: ") + bad);
  }
  {
    Products nowhere("x", "/proc/nowhere");
    all(nowhere, workspace.data());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
