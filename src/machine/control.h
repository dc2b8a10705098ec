// SPDX-License-Identifier: Apache-2.0
// The machine's control socket, <machine folder>/control.sock: how the causeway command asks a machine.
//
//   request   one line: {"op": "ps"}\n        AF_UNIX, SOCK_STREAM; the machine's own user only
//   reply     one JSON document, then close; {"error": "..."} when the request could not be served
//
//   op        reply (an object; lists of objects, all members in the order given)
//   version   version, protocol, pid
//   ps        pid, resident_bytes, programs [pid command threads files], files [pid name],
//             accelerators [...], nics [...]    the drivers say what; rdma_cm {ids listening connected groups}
//   links     links [from to bytes]                        every directed PCIe link
//   routes    routes [initiator target bytes_read bytes_written crosses_host_memory hops [from to]]
//   explain   refusals [time what rule provider client remedy], oldest first; time in seconds since 1970
//   stats     threads, files, memories [name bytes resident_bytes], nics {name: {counter: value}}
//   config    config: the text of <machine folder>/config.toml, or null
//   down      down: true; the machine ends after the reply
//   top       what `causeway top` shows: counters that only grow, and states
//   faults    faults [name what options]: what can be injected
//   inject    device, fault, effect, status. The request names device (name, node or bus address) and fault, and has
//             the fault's options (drivers/habanalabs/inject.h)
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <thread>

#include "base/result.h"
#include "base/unique_fd.h"

namespace causeway::machine {

class ControlServer {
 public:
  // Runs on the control thread. May throw: the reply is an error then.
  using Handler = std::function<nlohmann::ordered_json(const nlohmann::json& request)>;

  // Serves until destroyed, on a thread of its own: a handler may wait for a driver's lock, the main loop must not.
  // errors: those of socket(), bind() and listen().
  static Result<std::unique_ptr<ControlServer>> Start(const std::string& path, std::map<std::string, Handler> handlers);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  explicit ControlServer(std::map<std::string, Handler> handlers) : handlers_(std::move(handlers)) {}
  void Run();
  // True: the client is done with.
  bool Serve(int socket, std::string& line);

  const std::map<std::string, Handler> handlers_;
  UniqueFd listener_, stop_;
  std::thread thread_;
};

// The reply to one line, without the newline. Hostile input: whatever the line is, the reply is a JSON object.
std::string ControlReply(const std::map<std::string, ControlServer::Handler>& handlers, const std::string& line);

}  // namespace causeway::machine
