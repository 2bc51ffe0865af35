#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace stockpot {

// SHA-256 (FIPS 180-4), streamed. Own code because an addon cannot rely on the OpenSSL inside the
// Node binary (it is not part of Node-API, and some builds lack it); uses the CPU's SHA
// instructions where there are any.
class Sha256 {
 public:
  void update(const void* data, size_t bytes);
  // Hex digest of all that was given so far; the object can go on afterwards.
  std::string hex() const;

 private:
  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t pending_[64];
  uint64_t bytes_ = 0;
};

// For tests: hash with the portable code even where the CPU has SHA instructions.
std::string sha256_plain(const void* data, size_t bytes);

}  // namespace stockpot
