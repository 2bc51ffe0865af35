// The backward operations of native/kernels/cuda/network/rows.h against
// plain loops in float64. Prints "N passed, N failed".
#include "rows_support.h"

using namespace stockpot::test;
using stockpot::Activation;

namespace {

constexpr double kUnit = 0x1p-24;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

double zero(size_t) { return 0; }
Doubles to_doubles(const Floats& v) { return Doubles(v.begin(), v.end()); }

// Ids with many of one kind, in runs over several parts, and some beyond the table.
void embeddings(Number number, uint64_t examples, uint64_t each, uint64_t columns, bool shared) {
  const uint64_t rows = examples * each, table_rows = 50;
  const std::string name = name_of(number) + "embedding_gradient " + std::to_string(rows) + "x" +
                           std::to_string(columns) + (shared ? " of shared ids" : "");
  const auto dy = random_values(number, rows * columns);
  const auto table = random_values(Number::kF32, table_rows * columns);
  std::vector<int32_t> ids(shared ? each : rows);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(i % 3 ? 17 : (i * 29 + i / 7) % 51);  // 50 is beyond the table
  Doubles wanted = to_doubles(table), magnitude(table.size());
  Floats chains(table.size());
  for (uint64_t r = 0; r < rows; ++r) {
    const auto id = static_cast<size_t>(std::min(ids[shared ? r % each : r], 49));
    for (uint64_t c = 0; c < columns; ++c) {
      wanted[id * columns + c] += dy[r * columns + c];
      magnitude[id * columns + c] += std::fabs(dy[r * columns + c]);
      chains[id * columns + c] += dy[r * columns + c];
    }
  }
  const auto results = run_all_ways(number, name, [&](const Room& room) {
    const Array I = room.integers(ids), DY = room.values(dy), partial = room.partial(rows, columns);
    std::vector<Array> out;
    out.push_back(room.floats(table));
    expect_started(embedding_gradient(number, {I.integers(), shared}, DY.data(), table_rows, each,
                                      rows, columns, out[0].floats(), partial.floats(), nullptr));
    return out;
  });
  judge(Number::kF32, name, results[0], wanted, [&](size_t i) { return 8 * kUnit * magnitude[i]; });
  if (rows > 8) return;
  // One part: rows of an id are added in their order.
  for (size_t i = 0; i < chains.size(); ++i) chains[i] += table[i];
  judge_bits(Number::kF32, name, results[0], chains);
}

void added_rows(Number number, uint64_t examples, uint64_t each, uint64_t columns) {
  const uint64_t rows = examples * each;
  const std::string name = name_of(number) + "gradient of " + std::to_string(each) +
                           " added rows, " + std::to_string(rows) + "x" + std::to_string(columns);
  const auto dy = random_values(number, rows * columns);
  const auto there = random_values(Number::kF32, each * columns);
  Doubles wanted = to_doubles(there), magnitude(there.size(), 1);
  for (uint64_t i = 0; i < rows * columns; ++i) {
    wanted[i % (each * columns)] += dy[i];
    magnitude[i % (each * columns)] += std::fabs(dy[i]);
  }
  const auto results = run_all_ways(number, name, [&](const Room& room) {
    const Array DY = room.values(dy), partial = room.partial(rows, columns);
    std::vector<Array> out;
    out.push_back(room.floats(there));
    expect_started(add_rows_gradient(number, DY.data(), each, rows, columns, out[0].floats(),
                                     partial.floats(), nullptr));
    return out;
  });
  judge(Number::kF32, name, results[0], wanted, [&](size_t i) { return 8 * kUnit * magnitude[i]; });
}

// Operations whose dx has rows of dy in it, or a share of them.
void spread(Number number, uint64_t columns, bool add) {
  const uint64_t examples = 3, each = 6, rows = examples * each;
  const std::string name =
      name_of(number) + std::to_string(columns) + " columns" + (add ? ", added: " : ": ");
  const auto dy = random_values(number, examples * columns),
             there = random_values(number, rows * columns),
             long_dy = random_values(number, (rows + examples) * columns);
  const auto row_there = random_values(Number::kF32, columns);
  const std::vector<int32_t> ids{1, 4, 4, 2, 0, 3, 0, 0, 0, 0, 0, 0, 5, 6, 7, 9, 8, 4};
  const uint64_t largest[] = {1, 0, 3}, fours[] = {1, 0, 5};
  Floats at_two, at_largest, at_four, behind, passed_on;
  Doubles mean, first = to_doubles(row_there);
  for (uint64_t r = 0; r < rows; ++r) {
    const uint64_t e = r / each, at = r % each;
    for (uint64_t c = 0; c < columns; ++c) {
      const float old = add ? there[r * columns + c] : 0, d = dy[e * columns + c];
      at_two.push_back(old + (at == 2 ? d : 0));
      at_largest.push_back(old + (at == largest[e] ? d : 0));
      at_four.push_back(old + (at == fours[e] ? d : 0));
      mean.push_back(old + (at >= 2 ? d / 4.0 : 0));
      behind.push_back(old + long_dy[(r + e + 1) * columns + c]);
      passed_on.push_back(old + long_dy[r * columns + c]);
      if (at == 0) first[c] += long_dy[(r + e) * columns + c];
    }
  }
  const auto results = run_all_ways(number, name + "spread", [&](const Room& room) {
    const Array DY = room.values(dy), LONG = room.values(long_dy), I = room.integers(ids),
                partial = room.partial(rows + examples, columns);
    std::vector<Array> out;
    for (int i = 0; i < 6; ++i) out.push_back(add ? room.values(there) : room.empty(there.size()));
    out.push_back(room.floats(row_there));
    expect_started(select_row_gradient(number, DY.data(), 2, each, examples, columns, add,
                                       out[0].data(), nullptr));
    expect_started(select_row_by_id_gradient(number, DY.data(), I.integers(), -1, each, examples,
                                             columns, add, out[1].data(), nullptr));
    expect_started(select_row_by_id_gradient(number, DY.data(), I.integers(), 4, each, examples,
                                             columns, add, out[2].data(), nullptr));
    expect_started(mean_rows_gradient(number, DY.data(), 2, each, examples, columns, add,
                                      out[3].data(), nullptr));
    expect_started(prepend_row_gradient(number, LONG.data(), each + 1, rows + examples, columns,
                                        add, out[4].data(), out[6].floats(), partial.floats(),
                                        nullptr));
    expect_started(pass_gradient(number, LONG.data(), rows * columns, add, out[5].data(), nullptr));
    return out;
  });
  judge_bits(number, name + "select_row", results[0], at_two);
  judge_bits(number, name + "select_row_by_id, the largest", results[1], at_largest);
  judge_bits(number, name + "select_row_by_id, equal", results[2], at_four);
  judge(number, name + "mean_rows", results[3], mean, zero);
  judge_bits(number, name + "prepend_row", results[4], behind);
  judge_bits(number, name + "pass_gradient", results[5], passed_on);
  judge(Number::kF32, name + "prepend_row's own", results[6], first,
        [](size_t) { return 8 * kUnit; });
}

void epilogues(Number number, Activation kind, uint64_t rows, uint64_t columns, int parts) {
  const bool with_scale = parts & 1, gated = parts & 2, with_bias = parts & 4, add = parts & 8,
             in_place = parts & 16;
  const std::string name = name_of(number) + "epilogue_gradient " +
                           std::to_string(static_cast<int>(kind)) + " of " + std::to_string(rows) +
                           "x" + std::to_string(columns) + " with " + std::to_string(parts);
  const size_t n = rows * columns;
  const auto dy = random_values(number, n), z = random_values(number, n, 2),
             m = random_values(number, n), there = random_values(number, n);
  const auto by = random_values(Number::kF32, columns), sums = random_values(Number::kF32, columns);
  Doubles dz, dmultiply, dscale = to_doubles(sums), dbias = dscale, scale_size(columns, 1),
                         bias_size(columns, 1);
  for (size_t i = 0; i < n; ++i) {
    const size_t c = i % columns;
    const double s = with_scale ? by[c] : 1, t = gated ? m[i] : 1, a = activation(kind, z[i]);
    dz.push_back(dy[i] * s * t * activation_slope(kind, z[i]));
    dmultiply.push_back(dy[i] * a * s + (add ? there[i] : 0));
    dscale[c] += dy[i] * a * t;
    dbias[c] += dz[i];
    scale_size[c] += std::fabs(dy[i] * t) * (1 + std::fabs(z[i]));
    bias_size[c] += std::fabs(dy[i] * s * t);
  }
  const auto results = run_all_ways(number, name, [&](const Room& room) {
    const Array DY = room.values(dy), Z = room.values(z), M = room.values(m), S = room.floats(by),
                partial = room.partial(rows, columns);
    std::vector<Array> out;
    out.push_back(in_place ? room.values(dy) : room.empty(n));
    out.push_back(add ? room.values(there) : room.empty(n));
    out.push_back(room.floats(sums));
    out.push_back(room.floats(sums));
    EpilogueGradient g{};
    g.dy = in_place ? out[0].data() : DY.data();
    g.before = Z.data();
    g.activation = kind;
    if (with_scale) {
      g.scale = S.floats();
      g.dscale = out[2].floats();
    }
    if (gated) {
      g.multiply = M.data();
      g.dmultiply = out[1].data();
      g.add_multiply = add;
    }
    if (with_bias) g.dbias = out[3].floats();
    g.dz = out[0].data();
    g.partial = partial.floats();
    g.rows = rows;
    g.columns = columns;
    expect_started(epilogue_gradient(number, g, nullptr));
    return out;
  });
  judge(number, name + ", dz", results[0], dz, [&](size_t i) {
    return 8e-7 * std::fabs(dy[i] * (with_scale ? by[i % columns] : 1) * (gated ? m[i] : 1));
  });
  if (gated) {
    judge(number, name + ", dmultiply", results[1], dmultiply, [&](size_t i) {
      return 6e-7 * (std::fabs(dy[i]) * (1 + std::fabs(z[i])) *
                         std::fabs(with_scale ? by[i % columns] : 1) +
                     std::fabs(there[i]));
    });
  }
  if (with_scale)
    judge(Number::kF32, name + ", dscale", results[2], dscale,
          [&](size_t i) { return 8e-7 * scale_size[i]; });
  if (with_bias)
    judge(Number::kF32, name + ", dbias", results[3], dbias,
          [&](size_t i) { return 1e-6 * bias_size[i]; });
}

void scales(Number number, uint64_t rows, uint64_t columns, bool add, bool by_power) {
  const std::string name = name_of(number) + "scale_gradient " + std::to_string(rows) + "x" +
                           std::to_string(columns) + (add ? ", added" : "");
  const size_t n = rows * columns;
  const auto x = random_values(number, n), dy = random_values(number, n),
             there = random_values(number, n);
  const float power = 1.3f, by = 1.7f;
  const double c = by * (by_power ? std::exp(static_cast<double>(power)) : 1.0);
  Doubles dx, dpower{0.25}, size{1};
  for (size_t i = 0; i < n; ++i) {
    dx.push_back(dy[i] * c + (add ? there[i] : 0));
    dpower[0] += dy[i] * x[i] * c;
    size[0] += std::fabs(dy[i] * x[i] * c);
  }
  const auto results = run_all_ways(number, name, [&](const Room& room) {
    const Array X = room.values(x), DY = room.values(dy), P = room.floats({power}),
                partial = room.partial(rows, columns);
    std::vector<Array> out;
    out.push_back(add ? room.values(there) : room.empty(n));
    out.push_back(room.floats({0.25f}));
    expect_started(scale_gradient(number, X.data(), by, by_power ? P.floats() : nullptr, DY.data(),
                                  rows, columns, add, out[0].data(),
                                  by_power ? out[1].floats() : nullptr, partial.floats(), nullptr));
    return out;
  });
  judge(number, name, results[0], dx,
        [&](size_t i) { return 5e-7 * (std::fabs(dy[i] * c) + std::fabs(there[i])); });
  if (by_power)
    judge(Number::kF32, name + ", dpower", results[1], dpower,
          [&](size_t) { return 5e-7 * size[0]; });
}

void likelihood(Number number, uint64_t vocabulary, bool add) {
  const uint64_t examples = 2, classes = 2, length = 3, rows = examples * classes * length;
  const std::string name = name_of(number) + "log_likelihood_gradient of " +
                           std::to_string(vocabulary) + (add ? ", added" : "");
  const auto x = random_values(number, rows * vocabulary, 4),
             there = random_values(number, rows * vocabulary),
             dy = random_values(number, examples * classes);
  std::vector<int32_t> labels(classes * length, -1);
  for (size_t i = 0; i < labels.size(); i += 2)
    labels[i] = static_cast<int32_t>((i * 131 + 5) % vocabulary);
  Doubles wanted;
  for (uint64_t r = 0; r < rows; ++r) {
    const int32_t label = labels[r % (classes * length)];
    double all = 0;
    for (uint64_t i = 0; i < vocabulary; ++i)
      all += std::exp(static_cast<double>(x[r * vocabulary + i]));
    for (uint64_t i = 0; i < vocabulary; ++i) {
      const double p = std::exp(static_cast<double>(x[r * vocabulary + i])) / all;
      const double hit = static_cast<int64_t>(i) == label;
      wanted.push_back((label < 0 ? 0 : dy[r / length] * (hit - p)) +
                       (add ? there[r * vocabulary + i] : 0));
    }
  }
  const auto results = run_all_ways(number, name, [&](const Room& room) {
    const Array X = room.values(x), DY = room.values(dy), L = room.integers(labels);
    std::vector<Array> out;
    out.push_back(add ? room.values(there) : room.empty(there.size()));
    expect_started(log_likelihood_gradient(number, X.data(), L.integers(), DY.data(), classes,
                                           length, vocabulary, examples, add, out[0].data(),
                                           nullptr));
    return out;
  });
  judge(number, name, results[0], wanted,
        [&](size_t i) { return 1e-6 * (3 + (add ? std::fabs(there[i]) : 0)); });
}

}  // namespace

int main() {
  for (Number number : kNumbers) {
    embeddings(number, 1, 1, 8, false);
    embeddings(number, 2, 4, 24, false);
    embeddings(number, 4, 77, 40, false);
    embeddings(number, 5, 20, 7, true);
    embeddings(number, 1, 2500, 8, false);  // parts of 16 rows, runs over many of them
    embeddings(number, 40, 3, 520, true);
    for (uint64_t each : {1, 3, 50}) added_rows(number, 6, each, 72);
    added_rows(number, 3000, 1, 9);
    added_rows(number, 400, 2, 264);
    added_rows(number, 1, 1, 1);
    for (uint64_t columns : {1, 8, 75, 768}) {
      spread(number, columns, false);
      spread(number, columns, true);
    }
    for (Activation kind : kActivations) epilogues(number, kind, 20, 264, 31);
    for (int parts : {0, 1, 2, 4, 5, 6, 12, 20})
      epilogues(number, Activation::kGelu, 13, parts == 4 ? 5 : 72, parts);
    epilogues(number, Activation::kSilu, 2500, 24, 7);
    for (bool add : {false, true}) {
      scales(number, 37, 10, add, true);
      scales(number, 3000, 3, add, true);
      scales(number, 1, 1000, add, false);
      for (uint64_t vocabulary : {2, 37, 1000, 4099}) likelihood(number, vocabulary, add);
    }
  }
  return finish();
}
