// SPDX-License-Identifier: Apache-2.0
// Where this command's own parts are, found from where the command itself is, so that an installed tree can be moved:
//
//   installed      <prefix>/bin/causeway   <prefix>/<libdir>/libcauseway.so   <prefix>/bin/causeway-p2p
//   build tree     src/cli/causeway        src/shim/libcauseway.so            examples/causeway-p2p
#pragma once

#include <string>

namespace causeway::cli {

// Absolute path of libcauseway.so. Throws Failure when it is not there, or when its path cannot stand in LD_PRELOAD.
std::string LibraryPath();
// Absolute path of the peer-to-peer program. Throws Failure when it is not there.
std::string PeerToPeerProgram();

}  // namespace causeway::cli
