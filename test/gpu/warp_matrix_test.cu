// The fragments of warp_matrix.h against the tables of the PTX ISA, written out here element by
// element, and products of small integers, which are exact, through ldmatrix and by hand.
#include "../../native/kernels/cuda/network/warp_matrix.h"
#include "../../native/kernels/cuda/start.h"
#include "../../native/kernels/plain/convert.h"
#include "device_memory.h"

namespace stockpot::cuda {
namespace {

constexpr unsigned kLanes = 32;

// What the ISA says of element i of a lane: "row = groupID for 0 <= i < 2 || 4 <= i < 6, else
// groupID + 8; col = threadID_in_group · 2 + (i & 1), + 8 for i >= 4".
struct Position {
  unsigned row, column;
};
Position of_a(unsigned lane, unsigned i) {
  const bool upper = i < 2 || (4 <= i && i < 6);
  return {(lane >> 2) + (upper ? 0 : 8), lane % 4 * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
// "row = threadID_in_group · 2 + (i & 1), + 8 for i >= 2; col = groupID".
Position of_b(unsigned lane, unsigned i) {
  return {lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2};
}
// "row = groupID for i < 2, groupID + 8 for i >= 2; col = threadID_in_group · 2 + (i & 1)".
Position of_c(unsigned lane, unsigned i) {
  return {(lane >> 2) + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)};
}

struct Fragments {
  uint32_t a[4], transposed[4];
};

// a [16, 16], b [16, 8]: fragments through ldmatrix, and the product of those that the host laid
// out.
template <class T>
__global__ void kernel(const T* a, const uint32_t* a_by_hand, const uint32_t* b_by_hand,
                       const float* c, Fragments* loaded, float* out) {
  uint8_t* shared = dynamic_shared();
  const unsigned lane = threadIdx.x;
  // All zeros, then the matrix over the first half.
  for (unsigned i = lane; i < 64; i += kLanes) copy_async(shared + 16 * i, a, false);
  commit_copies();
  for (unsigned i = lane; i < 32; i += kLanes) copy_async(shared + 16 * i, a + 8 * i, true);
  commit_copies();
  wait_copies<1>();
  wait_copies<0>();
  __syncthreads();
  const T* row = reinterpret_cast<const T*>(shared) + lane % 16 * 16 + lane / 16 * 8;
  Fragments f;
  load_matrices(row, f.a);
  load_transposed(row, f.transposed);
  loaded[lane] = f;
  const uint32_t fragment[4] = {a_by_hand[lane * 4], a_by_hand[lane * 4 + 1],
                                a_by_hand[lane * 4 + 2], a_by_hand[lane * 4 + 3]};
  float sum[4];
  for (unsigned i = 0; i < 4; ++i) sum[i] = c[lane * 4 + i];
  multiply_add<T>(sum, fragment, b_by_hand[lane * 2], b_by_hand[lane * 2 + 1]);
  for (unsigned i = 0; i < 4; ++i) out[lane * 4 + i] = sum[i];
  // The rest of shared memory stayed zero.
  for (unsigned i = 512 + lane; i < 1024; i += kLanes) {
    if (shared[i] != 0) out[0] = -1e30f;
  }
}

template <class T>
__global__ void pack_kernel(const float* from, uint32_t* to) {
  to[threadIdx.x] = pack<T>(from[2 * threadIdx.x], from[2 * threadIdx.x + 1]);
}

// Small integers are these bits in each type.
uint16_t encode(__half, int v) {
  if (v == 0) return 0;
  const unsigned sign = v < 0 ? 0x8000 : 0, m = static_cast<unsigned>(v < 0 ? -v : v);
  unsigned e = 0;
  while (m >> (e + 1)) ++e;
  return static_cast<uint16_t>(sign | (e + 15) << 10 | ((m << (10 - e)) & 0x3FF));
}
uint16_t encode(__nv_bfloat16, int v) {
  const float f = static_cast<float>(v);
  uint32_t b;
  std::memcpy(&b, &f, 4);
  return static_cast<uint16_t>(b >> 16);
}

template <class T>
void run() {
  int a[16][16], b[16][8], c[16][8];
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) a[i][j] = (i * 31 + j * 17) % 61 - 30;
    for (int j = 0; j < 8; ++j) b[i][j] = (i * 13 + j * 29) % 47 - 23, c[i][j] = i * 100 + j;
  }
  std::vector<T> rows(256);
  for (int i = 0; i < 256; ++i) {
    const uint16_t v = encode(T{}, a[i / 16][i % 16]);
    std::memcpy(&rows[i], &v, 2);
  }
  std::vector<uint32_t> a_parts(128), b_parts(64);
  std::vector<float> c_parts(128);
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    for (unsigned i = 0; i < 8; ++i) {
      const Position p = of_a(lane, i);
      a_parts[lane * 4 + i / 2] |= uint32_t{encode(T{}, a[p.row][p.column])} << 16 * (i % 2);
    }
    for (unsigned i = 0; i < 4; ++i) {
      const Position p = of_b(lane, i), q = of_c(lane, i);
      b_parts[lane * 2 + i / 2] |= uint32_t{encode(T{}, b[p.row][p.column])} << 16 * (i % 2);
      c_parts[lane * 4 + i] = static_cast<float>(c[q.row][q.column]);
    }
  }
  const test::DeviceArray<T> device_rows(rows);
  const test::DeviceArray<uint32_t> device_a(a_parts), device_b(b_parts);
  const test::DeviceArray<float> device_c(c_parts), out(128);
  const test::DeviceArray<Fragments> loaded(kLanes);
  CHECK(start(kernel<T>, {1, kLanes, nullptr, 1024}, device_rows.data(), device_a.data(),
              device_b.data(), device_c.data(), loaded.data(), out.data()) == cudaSuccess);
  const std::vector<Fragments> fragments = loaded.get();
  const std::vector<float> product = out.get();
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    for (unsigned i = 0; i < 8; ++i) {
      const unsigned half = 16 * (i % 2);
      // Rows of 16: matrices 0 and 1 are the upper and lower left, 2 and 3 the right: an A.
      const Position p = of_a(lane, i);
      CHECK(static_cast<uint16_t>(fragments[lane].a[i / 2] >> half) ==
            encode(T{}, a[p.row][p.column]));
      // Transposed each for itself, matrix m is two registers of a B whose columns are a's: of a's
      // columns 0 to 7 for m = 0, 1, and 8 to 15 for m = 2, 3.
      const Position q = of_b(lane, i % 4);
      CHECK(static_cast<uint16_t>(fragments[lane].transposed[i / 2] >> half) ==
            encode(T{}, a[q.row][q.column + (i >= 4 ? 8 : 0)]));
    }
    for (unsigned i = 0; i < 4; ++i) {
      const Position p = of_c(lane, i);
      int sum = c[p.row][p.column];
      for (int k = 0; k < 16; ++k) sum += a[p.row][k] * b[k][p.column];
      CHECK(product[lane * 4 + i] == static_cast<float>(sum));
    }
  }
}

// To nearest even.
template <class T>
void rounds(DType type) {
  std::vector<float> values(2 * kLanes);
  for (unsigned i = 0; i < 2 * kLanes; ++i) values[i] = (1.0f + 0x1p-12f * i) * (i % 3 ? 1 : -8);
  values[0] = INFINITY, values[1] = -0.0f;
  const test::DeviceArray<float> from(values);
  const test::DeviceArray<uint32_t> to(kLanes);
  CHECK(start(pack_kernel<T>, {1, kLanes, nullptr}, from.data(), to.data()) == cudaSuccess);
  const std::vector<uint32_t> pairs = to.get();
  for (unsigned i = 0; i < 2 * kLanes; ++i) {
    bool overflow = false;
    const uint64_t expected = plain::round_to(type, values[i], &overflow);
    CHECK((pairs[i / 2] >> 16 * (i % 2) & 0xFFFF) == expected);
  }
}

}  // namespace
}  // namespace stockpot::cuda

int main() {
  using namespace stockpot::cuda;
  run<__half>();
  run<__nv_bfloat16>();
  rounds<__half>(stockpot::DType::kF16);
  rounds<__nv_bfloat16>(stockpot::DType::kBF16);
  std::puts("fragments, products and roundings are as the PTX ISA says");
}
