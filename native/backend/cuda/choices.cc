#include "choices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>

namespace stockpot::cuda {
namespace {

constexpr int kMostCandidates = 1024;
constexpr size_t kMostBytes = 1 << 20;  // of the file that are read
constexpr size_t kMostProduct = 160;    // letters

// A product's sizes: lower-case letters, digits, commas.
bool is_product(const std::string& text) {
  if (text.empty() || text.size() > kMostProduct) return false;
  for (char c : text) {
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != ',') return false;
  }
  return true;
}

std::string read_file(const std::string& file) {
  std::string text;
  FILE* in = std::fopen(file.c_str(), "re");
  if (!in) return text;
  text.resize(kMostBytes);
  text.resize(std::fread(text.data(), 1, text.size(), in));
  std::fclose(in);
  return text;
}

}  // namespace

std::string Choices::usual_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache && *cache == '/') return std::string(cache) + "/stockpot";
  const char* home = std::getenv("HOME");
  return home && *home == '/' ? std::string(home) + "/.cache/stockpot" : "";
}

Choices::Choices(const std::string& folder, const std::string& name) {
  if (folder.empty()) return;
  file_ = folder + "/";
  for (char c : name) file_ += std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  file_ += ".txt";
  const std::string text = read_file(file_);
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos) break;  // cut off
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    char product[kMostProduct + 1];
    Choice c{};
    int used = 0;
    if (std::sscanf(line.c_str(), "%160s %d %d%n", product, &c.chosen, &c.candidates, &used) != 3 ||
        static_cast<size_t>(used) != line.size() || !is_product(product) || c.chosen < 0 ||
        c.chosen >= c.candidates || c.candidates > kMostCandidates) {
      continue;
    }
    choices_[product] = c;
  }
}

int Choices::find(const std::string& product, int candidates) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = choices_.find(product);
  return found == choices_.end() || found->second.candidates != candidates ? -1
                                                                           : found->second.chosen;
}

void Choices::add(const std::string& product, int chosen, int candidates) {
  const std::lock_guard<std::mutex> lock(mutex_);
  choices_[product] = {chosen, candidates};
  if (file_.empty()) return;
  for (size_t slash = file_.find('/', 1); slash != std::string::npos;
       slash = file_.find('/', slash + 1)) {
    mkdir(file_.substr(0, slash).c_str(), 0777);
  }
  // One write of one line, at the end: processes do not cut each other's.
  const std::string line =
      product + " " + std::to_string(chosen) + " " + std::to_string(candidates) + "\n";
  const int to = ::open(file_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (to < 0) return;
  if (write(to, line.data(), line.size()) < 0) {
    // Timed again the next time.
  }
  ::close(to);
}

}  // namespace stockpot::cuda
