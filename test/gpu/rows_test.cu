// The forward operations of native/kernels/cuda/network/rows.h against
// plain loops in float64. Prints "N passed, N failed".
#include <algorithm>

#include "rows_support.h"

using namespace stockpot::test;
using stockpot::Activation;

namespace {

void patches_of(Number number, bool bytes, uint32_t patch) {
  const uint32_t channels = 3, height = 2 * patch + 1, width = 3 * patch + (patch == 3 ? 2 : 0);
  const uint64_t examples = 2, columns = channels * patch * patch, each = 2 * (width / patch);
  const std::string name =
      name_of(number) + (bytes ? "bytes to patches" : "patches") + " of " + std::to_string(patch);
  const size_t plane = height * width;
  std::vector<uint8_t> pixels(examples * channels * plane);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 7 + i / 251);
  const std::vector<float> floats = random_values(Number::kF32, pixels.size());
  const float factor = 1 / 255.0f, mean[3] = {0.48f, 0.46f, 0.41f},
              deviation[3] = {0.27f, 0.26f, 1};
  std::vector<float> wanted;
  for (uint64_t e = 0; e < examples; ++e) {
    for (uint64_t r = 0; r < each; ++r) {
      for (uint64_t c = 0; c < channels; ++c) {
        for (uint32_t y = 0; y < patch; ++y) {
          for (uint32_t x = 0; x < patch; ++x) {
            const size_t at = (e * channels + c) * plane +
                              (r / (width / patch) * patch + y) * width +
                              r % (width / patch) * patch + x;
            const float scaled = static_cast<float>(pixels[at]) * factor;
            wanted.push_back(bytes ? (scaled - mean[c]) / deviation[c] : floats[at]);
          }
        }
      }
    }
  }
  const auto results = run_all_ways(number, name, [&](const Room& room) {
    Array data = bytes ? Array(pixels.data(), pixels.size(), room.skew) : room.floats(floats);
    std::vector<Array> out;
    out.push_back(room.empty(wanted.size()));
    Images images{data.data(), bytes, channels, height, width, factor, {}, {}};
    std::copy(mean, mean + 3, images.mean);
    std::copy(deviation, deviation + 3, images.deviation);
    expect_started(patches(number, images, patch, examples, out[0].data(), nullptr));
    return out;
  });
  expect(wanted.size() == examples * each * columns, name + ": size");
  judge_bits(number, name, results[0], wanted);
}

void gathers(Number number, uint64_t columns) {
  const uint64_t examples = 3, each = 5, rows = examples * each, table_rows = 7;
  const std::string name = name_of(number) + std::to_string(columns) + " columns, ";
  const auto x = random_values(number, rows * columns), y = random_values(number, rows * columns),
             table = random_values(number, table_rows * columns);
  std::vector<int32_t> ids(rows);
  for (size_t i = 0; i < rows; ++i) ids[i] = static_cast<int32_t>(i * 3 % 7);
  ids[4] = 9;             // beyond the table
  ids[11] = ids[13] = 8;  // of the last example twice the largest
  const auto row_of = [&](const std::vector<float>& from, uint64_t r) {
    return std::vector<float>(from.begin() + static_cast<long>(r * columns),
                              from.begin() + static_cast<long>((r + 1) * columns));
  };
  using Rows = std::vector<float>;
  const auto append = [](Rows* to, const Rows& row) {
    to->insert(to->end(), row.begin(), row.end());
  };
  Rows embedded, shared, prepended, selected, largest, equal, mean, sum, added, one_added;
  for (uint64_t r = 0; r < rows; ++r) {
    append(&embedded, row_of(table, static_cast<uint64_t>(std::min(ids[r], 6))));
    append(&shared, row_of(table, static_cast<uint64_t>(std::min(ids[r % each], 6))));
    if (r % each == 0) append(&prepended, row_of(table, 2));
    append(&prepended, row_of(x, r));
    for (uint64_t c = 0; c < columns; ++c) {
      const float v = x[r * columns + c];
      sum.push_back(v + y[r * columns + c]);
      added.push_back(v + table[r % each * columns + c]);
      one_added.push_back(v + table[c]);
    }
  }
  for (uint64_t e = 0; e < examples; ++e) {
    append(&selected, row_of(x, e * each + 3));
    const auto first = ids.begin() + static_cast<long>(e * each);
    const auto most = std::max_element(first, first + each) - first;
    append(&largest, row_of(x, e * each + static_cast<uint64_t>(most)));
    const auto found = std::find(first, first + each, 3);
    append(&equal,
           row_of(x, e * each + static_cast<uint64_t>(found == first + each ? 0 : found - first)));
  }
  std::vector<double> means;
  for (uint64_t e = 0; e < examples; ++e) {
    for (uint64_t c = 0; c < columns; ++c) {
      double all = 0;
      for (uint64_t r = 1; r < each; ++r) all += x[(e * each + r) * columns + c];
      means.push_back(all / static_cast<double>(each - 1));
    }
  }
  const auto results = run_all_ways(number, name + "gathers", [&](const Room& room) {
    const Array X = room.values(x), Y = room.values(y), table_at = room.values(table),
                I = room.integers(ids);
    std::vector<Array> out;
    for (const auto* wanted : {&embedded, &shared, &prepended, &selected, &largest, &equal, &sum,
                               &added, &one_added, &selected})
      out.push_back(room.empty(wanted->size()));
    const auto* T = static_cast<const uint8_t*>(table_at.data());
    expect_started(embedding(number, {I.integers(), false}, T, table_rows, each, rows, columns,
                             out[0].data(), nullptr));
    expect_started(embedding(number, {I.integers(), true}, T, table_rows, each, rows, columns,
                             out[1].data(), nullptr));
    expect_started(prepend_row(number, X.data(), T + 2 * columns * byte_size(number), each + 1,
                               rows + examples, columns, out[2].data(), nullptr));
    expect_started(
        select_row(number, X.data(), 3, each, examples, columns, out[3].data(), nullptr));
    expect_started(select_row_by_id(number, X.data(), I.integers(), -1, each, examples, columns,
                                    out[4].data(), nullptr));
    expect_started(select_row_by_id(number, X.data(), I.integers(), 3, each, examples, columns,
                                    out[5].data(), nullptr));
    expect_started(add(number, X.data(), Y.data(), rows * columns, out[6].data(), nullptr));
    expect_started(add_rows(number, X.data(), T, each, rows, columns, out[7].data(), nullptr));
    expect_started(add_rows(number, X.data(), T, 1, rows, columns, out[8].data(), nullptr));
    expect_started(mean_rows(number, X.data(), 1, each, examples, columns, out[9].data(), nullptr));
    return out;
  });
  judge_bits(number, name + "embedding", results[0], embedded);
  judge_bits(number, name + "embedding of shared ids", results[1], shared);
  judge_bits(number, name + "prepend_row", results[2], prepended);
  judge_bits(number, name + "select_row", results[3], selected);
  judge_bits(number, name + "select_row_by_id, the largest", results[4], largest);
  judge_bits(number, name + "select_row_by_id, equal", results[5], equal);
  judge_bits(number, name + "add", results[6], sum);
  judge_bits(number, name + "add_rows", results[7], added);
  judge_bits(number, name + "add_rows, one", results[8], one_added);
  judge(number, name + "mean_rows", results[9], means, [](size_t) { return 8 * 0x1p-24; });
}

void conversions(Number number, uint64_t n) {
  const std::string name = name_of(number) + std::to_string(n) + " elements, ";
  const auto x = random_values(Number::kF32, n), stored = random_values(number, n);
  const float power = 0.7f;
  std::vector<double> scaled;
  std::vector<float> twice;
  for (float v : stored) {
    scaled.push_back(v * 3.0 * std::exp(static_cast<double>(power)));
    twice.push_back(v * 1.1f);
  }
  const auto results = run_all_ways(number, name + "conversions", [&](const Room& room) {
    const Array from = room.floats(x), X = room.values(stored), P = room.floats({power});
    std::vector<Array> out;
    out.push_back(room.empty(n));
    out.push_back(room.floats(std::vector<float>(n)));
    out.push_back(room.empty(n));
    out.push_back(room.empty(n));
    expect_started(to_number(number, from.floats(), n, out[0].data(), nullptr));
    expect_started(to_float32(number, X.data(), n, out[1].floats(), nullptr));
    expect_started(scale(number, X.data(), 3, P.floats(), n, out[2].data(), nullptr));
    expect_started(scale(number, X.data(), 1.1f, nullptr, n, out[3].data(), nullptr));
    return out;
  });
  judge_bits(number, name + "to_number", results[0], x);
  judge_bits(Number::kF32, name + "to_float32", results[1], stored);
  judge(number, name + "scale by a power", results[2], scaled,
        [&](size_t i) { return 4e-7 * std::fabs(scaled[i]); });
  judge_bits(number, name + "scale", results[3], twice);
}

void epilogues(Number number, Activation kind, uint64_t rows, uint64_t columns, int parts) {
  const bool with_bias = parts & 1, with_scale = parts & 2, gated = parts & 4, residual = parts & 8,
             keep = parts & 16;
  const std::string name = name_of(number) + "epilogue " + std::to_string(static_cast<int>(kind)) +
                           " of " + std::to_string(rows) + "x" + std::to_string(columns) +
                           " with " + std::to_string(parts);
  const size_t n = rows * columns;
  const auto z = random_values(number, n, 3), m = random_values(number, n),
             r = random_values(number, n);
  const auto bias = random_values(Number::kF32, columns), by = random_values(Number::kF32, columns);
  std::vector<double> wanted, magnitude;
  std::vector<float> before;
  for (size_t i = 0; i < n; ++i) {
    const float sum = z[i] + (with_bias ? bias[i % columns] : 0);
    const double factor = (with_scale ? by[i % columns] : 1.0) * (gated ? m[i] : 1.0);
    before.push_back(sum);
    wanted.push_back(activation(kind, sum) * factor + (residual ? r[i] : 0));
    magnitude.push_back((1 + std::fabs(sum)) * std::fabs(factor) + std::fabs(wanted.back()));
  }
  const auto results = run_all_ways(number, name, [&](const Room& room) {
    const Array Z = room.values(z), M = room.values(m), R = room.values(r), B = room.floats(bias),
                S = room.floats(by);
    std::vector<Array> out;
    out.push_back(room.empty(n));
    out.push_back(room.empty(n));
    out.push_back(room.values(z));
    EpiloguePass pass{};
    pass.z = Z.data();
    if (with_bias) pass.bias = B.floats();
    pass.activation = kind;
    if (with_scale) pass.scale = S.floats();
    if (gated) pass.multiply = M.data();
    if (residual) pass.residual = R.data();
    if (keep) pass.before = out[1].data();
    pass.out = out[0].data();
    pass.rows = rows;
    pass.columns = columns;
    expect_started(epilogue(number, pass, nullptr));
    pass.z = pass.out = out[2].data();  // in place
    expect_started(epilogue(number, pass, nullptr));
    return out;
  });
  judge(number, name, results[0], wanted, [&](size_t i) { return 5e-7 * magnitude[i]; });
  expect(results[2] == results[0], name + ": in place");
  if (keep) judge_bits(number, name + ": before", results[1], before);
}

void likelihood(Number number, uint64_t vocabulary) {
  const uint64_t examples = 2, classes = 3, length = 2;
  const std::string name = name_of(number) + "log_likelihood of " + std::to_string(vocabulary);
  auto x = random_values(number, examples * classes * length * vocabulary, 4);
  std::vector<int32_t> labels(classes * length);
  for (size_t i = 0; i < labels.size(); ++i)
    labels[i] = static_cast<int32_t>((i * 131 + 5) % vocabulary);
  labels[3] = -100;
  std::vector<double> wanted;
  for (uint64_t e = 0; e < examples; ++e) {
    for (uint64_t c = 0; c < classes; ++c) {
      double sum = 0;
      for (uint64_t t = 0; t < length; ++t) {
        const int32_t label = labels[c * length + t];
        if (label < 0) continue;
        const float* row = &x[((e * classes + c) * length + t) * vocabulary];
        double all = 0;
        for (uint64_t i = 0; i < vocabulary; ++i) all += std::exp(static_cast<double>(row[i]));
        sum += row[label] - std::log(all);
      }
      wanted.push_back(sum);
    }
  }
  const auto run = [&](const Room& room) {
    const Array X = room.values(x), L = room.integers(labels);
    std::vector<Array> out;
    out.push_back(room.empty(wanted.size()));
    expect_started(log_likelihood(number, X.data(), L.integers(), classes, length, vocabulary,
                                  examples, out[0].data(), nullptr));
    return out;
  };
  const auto results = run_all_ways(number, name, run);
  judge(number, name, results[0], wanted, [](size_t) { return 2e-6; });

  // A NaN stays in its class of its example.
  x[vocabulary - 1] = NAN;
  const auto before = decode(number, results[0]),
             after = decode(number, results_of(run, {number, 0})[0]);
  bool others = true;
  for (size_t i = 1; i < after.size(); ++i) others = others && after[i] == before[i];
  expect(std::isnan(after[0]) && others, name + " with NaN");
}

}  // namespace

int main() {
  for (Number number : kNumbers) {
    for (bool bytes : {true, false}) {
      for (uint32_t patch : {3u, 8u, 14u, 16u}) patches_of(number, bytes, patch);
    }
    for (uint64_t columns : {1, 7, 64, 300, 1664}) gathers(number, columns);
    for (uint64_t n : {1, 5, 4096, 10007}) conversions(number, n);
    for (Activation kind : kActivations) epilogues(number, kind, 9, 264, 31);
    for (int parts : {0, 1, 2, 4, 8, 16, 29})
      epilogues(number, Activation::kGelu, 3, parts == 0 ? 5 : 71, parts);
    epilogues(number, Activation::kQuickGelu, 2050, 24, 1);  // several rows a thread
    for (uint64_t vocabulary : {2, 37, 1000, 4099}) likelihood(number, vocabulary);
  }
  return finish();
}
