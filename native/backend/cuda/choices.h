#pragma once
#include <map>
#include <mutex>
#include <string>

namespace stockpot::cuda {

// Which of the candidates for a product was the fastest when they were timed, kept in a text file a
// device and version of cuBLASLt in $XDG_CACHE_HOME/stockpot (or ~/.cache/stockpot). A line holds a
// product's sizes, the position of the candidate and how many there were; lines that say anything
// else, and choices among another number, count for nothing. What cannot be read or written is
// timed again the next time.
class Choices {
 public:
  // Of the file in `folder` ("": none) for what `name` says: letters, digits, others become "-".
  Choices(const std::string& folder, const std::string& name);
  // Where such files are kept; "" where neither variable is set.
  static std::string usual_folder();

  // -1: not chosen yet, or among another number of candidates.
  int find(const std::string& product, int candidates) const;
  void add(const std::string& product, int chosen, int candidates);

 private:
  struct Choice {
    int chosen, candidates;
  };
  std::string file_;
  mutable std::mutex mutex_;
  std::map<std::string, Choice> choices_;
};

}  // namespace stockpot::cuda
