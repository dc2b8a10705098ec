// SPDX-License-Identifier: Apache-2.0
#include "cli/control_client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "cli/failure.h"
#include "ipc/channel.h"

namespace causeway::cli {

nlohmann::ordered_json Ask(const std::string& folder, const nlohmann::ordered_json& request) {
  const std::string path = folder + "/" + ipc::kControlName;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) Fail(kExitFailure, "{} is too long a path for a socket", path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    Fail(kExitFailure, "the machine at {} does not answer: {}", folder, std::strerror(errno));
  }
  const std::string line = request.dump() + "\n";
  for (size_t sent = 0; sent < line.size();) {
    const ssize_t got = ::send(socket.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) Fail(kExitFailure, "the machine at {} went away: {}", folder, std::strerror(errno));
    sent += static_cast<size_t>(got);
  }
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t got = ::recv(socket.get(), buffer, sizeof(buffer), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) Fail(kExitFailure, "the machine at {} went away: {}", folder, std::strerror(errno));
    if (got == 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  nlohmann::ordered_json answer = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (answer.is_discarded()) {
    Fail(kExitFailure, "the machine at {} ended in the middle of an answer; its log is {}/log", folder, folder);
  }
  if (answer.is_object() && answer.contains("error")) {
    const nlohmann::ordered_json& error = answer["error"];
    Fail(kExitFailure, "the machine refused '{}': {}", request.value("op", ""),
         error.is_string() ? error.get<std::string>() : error.dump());
  }
  return answer;
}

nlohmann::ordered_json AskOp(const std::string& folder, const char* op) { return Ask(folder, {{"op", op}}); }

}  // namespace causeway::cli
