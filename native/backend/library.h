#pragma once
#include <string>

#include "backend.h"

namespace stockpot {

// Opens a backend's library by its absolute path and checks its version. It stays open to the end
// of the process: a driver does not take well to being unloaded. Returns nullptr and says why in
// *why.
const stockpot_backend* open_backend(const std::string& path, std::string* why);

}  // namespace stockpot
