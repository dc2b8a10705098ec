// SPDX-License-Identifier: Apache-2.0
#include "machine/control.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <list>
#include <nlohmann/json.hpp>
#include <vector>

namespace causeway::machine {
namespace {

constexpr size_t kMaxLine = 65536;
constexpr size_t kMaxClients = 32;

struct Client {
  UniqueFd socket;
  std::string line;
};

// The reply, whole, to a client that reads it: one that does not gets what fits in a second.
void SendAll(int socket, const std::string& text) {
  const struct timeval patience = {1, 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t got = ::send(socket, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    sent += static_cast<size_t>(got);
  }
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::Start(const std::string& path,
                                                            std::map<std::string, Handler> handlers) {
  std::unique_ptr<ControlServer> server(new ControlServer(std::move(handlers)));
  struct sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof(name.sun_path)) return Err(ENAMETOOLONG);
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  server->listener_.Reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  server->stop_.Reset(::eventfd(0, EFD_CLOEXEC));
  if (!server->listener_ || !server->stop_) return HostErr();
  if (::bind(server->listener_.get(), reinterpret_cast<struct sockaddr*>(&name), sizeof(name)) != 0) return HostErr();
  if (::listen(server->listener_.get(), 16) != 0) return HostErr();
  server->thread_ = std::thread([raw = server.get()] { raw->Run(); });
  (void)::pthread_setname_np(server->thread_.native_handle(), "cw-control");
  return server;
}

ControlServer::~ControlServer() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

void ControlServer::Run() {
  std::list<Client> clients;
  for (;;) {
    std::vector<struct pollfd> polls = {{stop_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Client& client : clients) polls.push_back({client.socket.get(), POLLIN, 0});
    if (::poll(polls.data(), polls.size(), -1) < 0) continue;  // EINTR
    if (polls[0].revents != 0) return;
    size_t at = 2;
    for (auto client = clients.begin(); client != clients.end(); ++at) {
      const bool done = polls[at].revents != 0 && Serve(client->socket.get(), client->line);
      client = done ? clients.erase(client) : std::next(client);
    }
    if (polls[1].revents == 0) continue;
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    struct ucred peer = {};
    socklen_t len = sizeof(peer);
    if (!socket || ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.uid != ::getuid()) {
      continue;
    }
    if (clients.size() == kMaxClients) clients.pop_front();  // the one that has been silent longest
    clients.push_back({std::move(socket), {}});
  }
}

bool ControlServer::Serve(int socket, std::string& line) {
  char buffer[4096];
  const ssize_t got = ::recv(socket, buffer, sizeof(buffer), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) return true;
  line.append(buffer, static_cast<size_t>(got));
  const size_t end = line.find('\n');
  if (end == std::string::npos && line.size() <= kMaxLine) return false;
  SendAll(socket, ControlReply(handlers_, line.substr(0, end)) + "\n");
  return true;
}

std::string ControlReply(const std::map<std::string, ControlServer::Handler>& handlers, const std::string& line) {
  // Names of programs and files are bytes of their owners' choice: what is not UTF-8 is replaced.
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
  const auto error = [&](const std::string& what) {
    return nlohmann::ordered_json({{"error", what}}).dump(-1, ' ', false, kReplace);
  };
  const auto request = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!request.is_object() || !request.contains("op") || !request["op"].is_string()) {
    return error("a request is one line: {\"op\": \"...\"}");
  }
  const auto handler = handlers.find(request["op"].get<std::string>());
  if (handler == handlers.end()) {
    std::string known;
    for (const auto& [op, unused] : handlers) known += (known.empty() ? "" : ", ") + op;
    return error("no such op; there are: " + known);
  }
  try {
    return handler->second(request).dump(-1, ' ', false, kReplace);
  } catch (const std::exception& failure) {
    return error(failure.what());
  }
}

}  // namespace causeway::machine
