// SPDX-License-Identifier: Apache-2.0
// causeway down: ends machines that `causeway up` started.
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/unique_fd.h"
#include "cli/failure.h"
#include "cli/machine_folder.h"
#include "cli/verbs.h"

namespace causeway::cli {
namespace {

constexpr int kStopTimeoutMs = 10'000;

void Stop(const LiveMachine& machine) {
  pid_t pid = 0;
  std::ifstream(machine.path + "/pid") >> pid;
  if (pid <= 0) Fail(kExitFailure, "{}/pid does not say which process the machine is", machine.path);
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd || ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGTERM, nullptr, 0) != 0) {
    if (errno == ESRCH) return;  // it went by itself just now
    Fail(kExitFailure, "cannot end machine '{}' (process {}): {}", machine.name, pid, std::strerror(errno));
  }
  pollfd ended = {pidfd.get(), POLLIN, 0};
  for (const int signal : {SIGTERM, SIGKILL}) {
    if (signal == SIGKILL) ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
    int got;
    while ((got = ::poll(&ended, 1, kStopTimeoutMs)) < 0 && errno == EINTR) {
    }
    if (got == 1) return;
  }
  Fail(kExitFailure, "machine '{}' (process {}) does not end", machine.name, pid);
}

}  // namespace

int Down(const DownOptions& options) {
  if (!options.all) {
    Stop(RequireMachine(options.name));
  } else {
    for (const LiveMachine& machine : LiveMachines()) {
      if (!IsPrivateName(machine.name)) Stop(machine);
    }
  }
  (void)LiveMachines();  // removes the folder of one that had to be killed
  return 0;
}

}  // namespace causeway::cli
