// SPDX-License-Identifier: Apache-2.0
#include "cli/stock_programs.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cli/child.h"
#include "cli/failure.h"
#include "cli/table.h"

namespace causeway::cli {
namespace {

// A TCP port of the loopback that nobody has now.
uint16_t FreePort() {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t len = sizeof(address);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), len) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &len) != 0) {
    Fail(kExitFailure, "there is no free TCP port: {}", std::strerror(errno));
  }
  return ntohs(address.sin_port);
}

// Whether somebody listens there (proc(5), /proc/net/tcp: state 0A). Asked, not tried: a connection would be the
// server's only client.
bool IsListening(uint16_t port) {
  const std::string wanted = fmt::format(":{:04X}", port);
  for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream table(path);
    for (std::string line; std::getline(table, line);) {
      std::istringstream fields(line);
      std::string number, local, remote, state;
      if (fields >> number >> local >> remote >> state && local.ends_with(wanted) && state == "0A") return true;
    }
  }
  return false;
}

std::string LastLine(const std::string& text) {
  const size_t end = text.find_last_not_of(" \n\t");
  if (end == std::string::npos) return {};
  const size_t begin = text.rfind('\n', end);
  return Printable(text.substr(begin == std::string::npos ? 0 : begin + 1, end - (begin + 1) + 1));
}

StockRun Absent(const char* program, const char* package) {
  StockRun run{.command = program, .result = fmt::format("not installed (Debian: {}), skipped", package)};
  run.skipped = true;
  return run;
}

bool IsInstalled(const char* program) {
  try {
    (void)FindProgram(program, std::getenv("PATH"));
    return true;
  } catch (const Failure&) {
    return false;
  }
}

std::string Why(int status, const Child& child) {
  const std::string last = LastLine(child.StandardError());
  return fmt::format("{} ended with status {}{}{}", child.name(), status, last.empty() ? "" : ": ", last);
}

}  // namespace

StockRun RunDevinfo(const SignalsHeld& signals, const std::string& machine_path) {
  if (!IsInstalled("ibv_devinfo")) return Absent("ibv_devinfo", "ibverbs-utils");
  StockRun run{.command = "ibv_devinfo", .result = {}};
  Child child(signals, machine_path, {"ibv_devinfo"});
  std::istringstream output(child.ReadAll());
  const int status = child.Wait();
  run.details["devices"] = nlohmann::json::array();
  for (std::string line; std::getline(output, line);) {
    std::istringstream words(line);
    std::string key, value;
    words >> key >> value;
    if (key == "hca_id:") {
      run.details["devices"].push_back({{"name", value}});
    } else if (key == "state:" && !run.details["devices"].empty()) {
      run.details["devices"].back()["state"] = value;
      run.result += fmt::format("{}{} {}", run.result.empty() ? "" : ", ",
                                run.details["devices"].back()["name"].get<std::string>(), value);
    }
  }
  run.good = status == 0 && !run.details["devices"].empty();
  if (!run.good) run.result = status == 0 ? "it lists no device" : Why(status, child);
  return run;
}

StockRun RunWriteBandwidth(const SignalsHeld& signals, const std::string& machine_path, const std::string& server_nic,
                           const std::string& client_nic) {
  if (!IsInstalled("ib_write_bw")) return Absent("ib_write_bw", "perftest");
  constexpr int kSize = 65536, kIterations = 5000;
  const uint16_t port = FreePort();
  std::vector<std::string> arguments = {
      "ib_write_bw",        "-F", "-s",      std::to_string(kSize), "-n", std::to_string(kIterations), "-p",
      std::to_string(port), "-d", server_nic};
  StockRun run{.command = fmt::format("ib_write_bw {} -> {}", client_nic, server_nic), .result = {}};
  Child server(signals, machine_path, arguments);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!IsListening(port)) {
    if (!server.Pause(10) || std::chrono::steady_clock::now() > deadline) {
      run.result = "the server did not begin to listen: " + LastLine(server.StandardError());
      return run;
    }
  }
  arguments.back() = client_nic;
  arguments.push_back("127.0.0.1");
  Child client(signals, machine_path, arguments);
  std::istringstream output(client.ReadAll());
  const int client_status = client.Wait();
  // The result line: #bytes, #iterations, peak MB/s, average MB/s, message rate; MB is 2^20 bytes there.
  double average = 0;
  for (std::string line; std::getline(output, line);) {
    std::istringstream fields(line);
    double bytes = 0, iterations = 0, peak = 0, mean = 0;
    if (fields >> bytes >> iterations >> peak >> mean && bytes == kSize) average = mean;
  }
  if (client_status != 0) {
    run.result = Why(client_status, client);
    return run;
  }
  const int server_status = server.Wait();
  run.details = {{"message_bytes", kSize}, {"iterations", kIterations}, {"gib_per_s", average / 1024}};
  run.good = server_status == 0 && average > 0;
  run.result = server_status != 0 ? Why(server_status, server)
               : average <= 0
                   ? "its output has no result line"
                   : fmt::format("{:.2f} GiB/s, {} messages of {}", average / 1024, kIterations, FormatBytes(kSize));
  return run;
}

}  // namespace causeway::cli
