// SPDX-License-Identifier: Apache-2.0
#include "cli/installation.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "cli/failure.h"

namespace causeway::cli {
namespace {

std::string OwnFolder() {
  char path[PATH_MAX];
  const ssize_t len = ::readlink("/proc/self/exe", path, sizeof(path));
  if (len < 0) Fail(kExitFailure, "cannot read /proc/self/exe: {}; is /proc mounted?", std::strerror(errno));
  const std::string file(path, static_cast<size_t>(len));
  return file.substr(0, file.rfind('/'));
}

// The first of these files, relative to this command, that is there.
std::string FindPart(const char* what, std::initializer_list<const char*> places) {
  const std::string own = OwnFolder();
  std::string tried;
  for (const char* place : places) {
    const std::string candidate = own + "/" + place;
    char resolved[PATH_MAX];
    if (::realpath(candidate.c_str(), resolved) != nullptr) return resolved;
    tried += (tried.empty() ? "" : " nor ") + candidate;
  }
  Fail(kExitFailure, "{} is missing: it is neither {}; install Causeway again, or build it (./dev build)", what, tried);
}

}  // namespace

std::string LibraryPath() {
  std::string path = FindPart("the library that programs are given, libcauseway.so",
                              {"../" CAUSEWAY_LIBDIR "/libcauseway.so", "../shim/libcauseway.so"});
  if (path.find_first_of(" :") != std::string::npos) {
    Fail(kExitFailure, "{} cannot be preloaded: LD_PRELOAD takes no path with a blank or a colon; move the tree", path);
  }
  return path;
}

std::string PeerToPeerProgram() {
  return FindPart("the peer-to-peer program, causeway-p2p", {"causeway-p2p", "../../examples/causeway-p2p"});
}

}  // namespace causeway::cli
