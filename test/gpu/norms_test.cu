// LayerNorm, RMSNorm and rows over their length, forward and backward,
// against plain loops in float64. Prints "N passed, N failed".
#include "rows_support.h"

using namespace stockpot::test;

namespace {

constexpr double kEpsilon = 1e-5f;

enum class Kind { kLayerNorm, kRmsNorm, kL2 };

struct Wanted {
  std::vector<double> out, dx, dweight, dbias;
  // By which an error of 1 in units of the last place grows.
  std::vector<double> out_scale, dx_scale, dweight_scale, dbias_scale;
};

Wanted reference(Kind kind, const std::vector<float>& x, const std::vector<float>& weight,
                 const std::vector<float>& bias, const std::vector<float>& dy, size_t columns) {
  const size_t rows = x.size() / columns;
  const double n = static_cast<double>(columns);
  Wanted w;
  for (auto* v : {&w.dweight, &w.dbias, &w.dweight_scale, &w.dbias_scale}) v->resize(columns);
  for (size_t r = 0; r < rows; ++r) {
    const float *row = &x[r * columns], *d = &dy[r * columns];
    double mean = 0, square = 0, total = 0, along = 0;
    for (size_t i = 0; kind == Kind::kLayerNorm && i < columns; ++i) mean += row[i] / n;
    for (size_t i = 0; i < columns; ++i) square += (row[i] - mean) * (row[i] - mean);
    const double by = 1 / std::sqrt(kind == Kind::kL2 ? square : square / n + kEpsilon);
    const auto factor = [&](size_t i) { return kind == Kind::kL2 ? 1.0 : weight[i]; };
    double largest = 0;
    for (size_t i = 0; i < columns; ++i) {
      const double g = d[i] * factor(i);
      total += g;
      along += g * (row[i] - mean) * by;
      largest = std::fmax(largest, std::fabs(g));
    }
    if (kind != Kind::kL2) along /= n;
    total = kind == Kind::kLayerNorm ? total / n : 0;
    for (size_t i = 0; i < columns; ++i) {
      const double hat = (row[i] - mean) * by, g = d[i] * factor(i);
      // The mean is off by some units of itself, and with it all differences from it.
      const double loss = 1 + std::fabs(hat) + std::fabs(mean) * by;
      const double offset = kind == Kind::kLayerNorm ? bias[i] : 0;
      w.out.push_back(hat * factor(i) + offset);
      w.out_scale.push_back(loss * std::fabs(factor(i)) + std::fabs(offset));
      w.dx.push_back((g - total - hat * along) * by);
      w.dx_scale.push_back((largest + std::fabs(total) + std::fabs(along) * std::fabs(hat)) * by *
                           loss);
      w.dweight[i] += d[i] * hat;
      w.dbias[i] += d[i];
      w.dweight_scale[i] += std::fabs(d[i]) * loss;
      w.dbias_scale[i] += std::fabs(d[i]);
    }
  }
  return w;
}

cudaError_t forward(Kind kind, Number number, const void* x, const float* weight, const float* bias,
                    uint64_t rows, uint64_t columns, void* out) {
  switch (kind) {
    case Kind::kLayerNorm:
      return layer_norm(number, x, weight, bias, kEpsilon, rows, columns, out, nullptr);
    case Kind::kRmsNorm:
      return rms_norm(number, x, weight, kEpsilon, rows, columns, out, nullptr);
    default:
      return l2_normalize(number, x, rows, columns, out, nullptr);
  }
}

struct Gradient {
  void *dx, *dy;
  float *dweight, *dbias, *partial;
  bool add;
};
cudaError_t backward(Kind kind, Number number, const void* x, const float* weight, uint64_t rows,
                     uint64_t columns, const Gradient& g) {
  switch (kind) {
    case Kind::kLayerNorm:
      return layer_norm_gradient(number, x, weight, kEpsilon, g.dy, rows, columns, g.add, g.dx,
                                 g.dweight, g.dbias, g.partial, nullptr);
    case Kind::kRmsNorm:
      return rms_norm_gradient(number, x, weight, kEpsilon, g.dy, rows, columns, g.add, g.dx,
                               g.dweight, g.partial, nullptr);
    default:
      return l2_normalize_gradient(number, x, g.dy, rows, columns, g.add, g.dx, nullptr);
  }
}

void norm(Kind kind, Number number, uint64_t rows, uint64_t columns, float deviation,
          float centre) {
  const char* kinds[] = {"layer_norm ", "rms_norm ", "l2_normalize "};
  const std::string name = name_of(number) + kinds[static_cast<int>(kind)] + std::to_string(rows) +
                           "x" + std::to_string(columns) + " around " + text(centre);
  const size_t n = rows * columns;
  const auto x = random_values(number, n, deviation, centre), dy = random_values(number, n),
             there = random_values(number, n);
  const auto weight = random_values(Number::kF32, columns),
             bias = random_values(Number::kF32, columns),
             sums = random_values(Number::kF32, columns);
  const Wanted w = reference(kind, x, weight, bias, dy, columns);
  const auto results = run_all_ways(number, name, [&](const Room& room) {
    const Array X = room.values(x), W = room.floats(weight), B = room.floats(bias);
    const Array DY = room.values(dy), partial = room.partial(rows, columns);
    const size_t size = byte_size(number);
    std::vector<Array> out;
    out.push_back(room.empty(n));
    out.push_back(room.empty(n));
    out.push_back(room.values(there));
    out.push_back(room.floats(sums));
    out.push_back(room.floats(sums));
    out.push_back(room.values(dy));
    out.push_back(room.empty(columns));
    expect_started(
        forward(kind, number, X.data(), W.floats(), B.floats(), rows, columns, out[0].data()));
    Gradient g{out[1].data(), DY.data(), out[3].floats(), out[4].floats(), partial.floats(), false};
    expect_started(backward(kind, number, X.data(), W.floats(), rows, columns, g));
    const Array again = room.floats(sums), other = room.floats(sums);
    g = {out[2].data(), DY.data(), again.floats(), other.floats(), partial.floats(), true};
    expect_started(backward(kind, number, X.data(), W.floats(), rows, columns, g));
    expect(again.bytes() == out[3].bytes(), name + ": the same sums again");
    g = {out[5].data(), out[5].data(), again.floats(), other.floats(), partial.floats(), false};
    expect_started(backward(kind, number, X.data(), W.floats(), rows, columns, g));
    // The last row alone.
    expect_started(forward(kind, number, static_cast<uint8_t*>(X.data()) + (n - columns) * size,
                           W.floats(), B.floats(), 1, columns, out[6].data()));
    return out;
  });
  const double unit = 0x1p-24;
  judge(number, name, results[0], w.out, [&](size_t i) { return 8 * unit * w.out_scale[i]; });
  judge(number, name + ", dx", results[1], w.dx,
        [&](size_t i) { return 16 * unit * w.dx_scale[i]; });
  std::vector<double> added = w.dx;
  for (size_t i = 0; i < n; ++i) added[i] += there[i];
  judge(number, name + ", dx added", results[2], added,
        [&](size_t i) { return 16 * unit * (w.dx_scale[i] + std::fabs(added[i])); });
  expect(results[5] == results[1], name + ": dx in dy's place");
  const auto last = results[0].end() - static_cast<long>(columns * byte_size(number));
  expect(std::equal(last, results[0].end(), results[6].begin()), name + ": a row alone");
  if (kind == Kind::kL2) return;
  std::vector<double> dweight = w.dweight, dbias = w.dbias;
  for (size_t i = 0; i < columns; ++i) {
    dweight[i] += sums[i];
    dbias[i] += sums[i];
  }
  // Chains of at most 16 rows here, a few units each.
  judge(Number::kF32, name + ", dweight", results[3], dweight,
        [&](size_t i) { return 16 * unit * (w.dweight_scale[i] + 1); });
  if (kind == Kind::kLayerNorm) {
    judge(Number::kF32, name + ", dbias", results[4], dbias,
          [&](size_t i) { return 8 * unit * (w.dbias_scale[i] + 1); });
  }
}

// NaN and infinity stay in their row.
void not_numbers(Kind kind, Number number, uint64_t columns) {
  const std::string name = name_of(number) + "norm " + std::to_string(static_cast<int>(kind)) +
                           " of " + std::to_string(columns) + " columns with NaN";
  auto x = random_values(number, 3 * columns);
  const auto weight = random_values(Number::kF32, columns);
  const auto run = [&](const Room& room) {
    const Array X = room.values(x), W = room.floats(weight);
    std::vector<Array> out;
    out.push_back(room.empty(3 * columns));
    expect_started(
        forward(kind, number, X.data(), W.floats(), W.floats(), 3, columns, out[0].data()));
    return out;
  };
  const auto before = decode(number, results_of(run, {number, 0})[0]);
  for (float wrong : {NAN, INFINITY}) {
    x[columns + columns / 2] = wrong;
    const auto after = decode(number, results_of(run, {number, 0})[0]);
    bool others = true, itself = std::isnan(after[columns + columns / 2]);
    for (size_t i = 0; i < columns; ++i) {
      others = others && after[i] == before[i] && after[2 * columns + i] == before[2 * columns + i];
      itself = itself && (std::isnan(after[columns + i]) || kind != Kind::kLayerNorm);
    }
    expect(others && itself, name);
  }
}

}  // namespace

int main() {
  for (Number number : kNumbers) {
    for (Kind kind : {Kind::kLayerNorm, Kind::kRmsNorm, Kind::kL2}) {
      for (uint64_t columns : {1, 5, 64, 257, 512, 768, 1000, 1664, 2050, 4096, 5000})
        norm(kind, number, columns < 1000 ? 11 : 3, columns, 1, 0.5f);
      norm(kind, number, 300, 40, 2, 0);
      norm(kind, number, 1, 8192, 1, -3);
      norm(kind, number, 2, 9001, 1, 1);
      norm(kind, number, 2, 8200, 1, 1);
      // Where the mean of squares less the square of the mean would have nothing left.
      norm(kind, number, 3, 768, 0.5f, 100);
      norm(kind, number, 3, 100, 1e-4f, 1e-3f);
      for (uint64_t columns : {100, 1664, 9000}) not_numbers(kind, number, columns);
    }
  }
  return finish();
}
