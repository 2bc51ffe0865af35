#pragma once
#include <napi.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "../stream/source.h"

namespace stockpot {

constexpr int64_t kSafe = int64_t{1} << 53;  // integers that JavaScript's numbers hold exactly
constexpr int64_t kMostInputs = 65535;

// Reads the flat tables that TypeScript passes, checking every index, size and range. A violation
// is a mistake in stockpot itself, not in a user's file, and throws a JavaScript TypeError naming
// the field.
class Tables {
 public:
  Tables(Napi::Env env, Napi::Object spec) : env_(env), spec_(spec) {}

  std::vector<double> numbers(const char* field) const;  // a Float64Array
  std::vector<int64_t> integers(const char* field, int64_t least,
                                int64_t most) const;  // a Float64Array of integers
  int64_t integer(const char* field, int64_t least, int64_t most) const;

  std::vector<int> files() const;
  // Fields sourceFile, sourceDtype, sourceOffset, sourceView, and views (arrays of [shape, strides]
  // as Float64Arrays). `elements[i / per_segment]` is the number of elements of source i. Where
  // `held` may be given and the field is there, it is a held block in place of files: sources lie
  // in it, and it goes to `held`. Where deviceBlock is there, a block on a device, it goes there,
  // and deviceOffset says where in it a source lies too, or -1.
  std::vector<Source> sources(size_t file_count, const std::vector<uint64_t>& elements,
                              size_t per_segment, std::deque<View>* views,
                              std::shared_ptr<void>* held = nullptr) const;

  [[noreturn]] void fail(const char* field, const char* why) const;
  Napi::Object object() const { return spec_; }

 private:
  Napi::Env env_;
  Napi::Object spec_;
};

}  // namespace stockpot
