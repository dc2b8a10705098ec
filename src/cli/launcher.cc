// SPDX-License-Identifier: Apache-2.0
#include "cli/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "base/log.h"
#include "cli/failure.h"
#include "machine/machine.h"

namespace causeway::cli {
namespace {

constexpr int kReadyTimeoutMs = 20'000;
constexpr int kStopTimeoutMs = 5'000;
constexpr size_t kLogLines = 12;

void CloseAllBut(std::vector<int> kept) {
  std::ranges::sort(kept);
  unsigned from = 0;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(fd);
    if (number > from) (void)::close_range(from, number - 1, 0);
    from = number + 1;
  }
  (void)::close_range(from, ~0U, 0);
}

void WriteFile(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) Fail(kExitFailure, "cannot write {}", path);
}

// In the child; does not return.
[[noreturn]] void BeMachine(const config::MachineConfig& config, const MachineFolder& folder,
                            const LaunchOptions& options, pid_t parent, int ready_fd) {
  if (options.life == Life::kWithParent) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(0);  // it died before the line above
  }
  ::setsid();                               // a terminal's ^C is for the program, not for its machine
  ::prctl(PR_SET_NAME, "causeway-machin");  // 15 letters is all it takes
  // What the terminal sent to the group before setsid() is forgotten (SIG_IGN drops what is pending); SIGTERM is not:
  // it may be the parent's death.
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    if (signal != SIGTERM) ::signal(signal, SIG_IGN);
    ::signal(signal, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);

  const int null = ::open("/dev/null", O_RDWR);
  ::dup2(null, STDIN_FILENO);
  ::dup2(null, STDOUT_FILENO);
  const std::string log = options.log_to_stderr ? "" : folder.path() + "/log";
  if (!log.empty()) {
    const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(fd, STDERR_FILENO);
  }
  CloseAllBut({STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, folder.lock_fd(), ready_fd});
  (void)!::chdir("/");
  ::umask(022);  // the folder is the user's alone; what is in it is as readable as sysfs has it

  int status = kExitFailure;
  try {
    WriteFile(folder.path() + "/pid", fmt::format("{}\n", ::getpid()));
    log::Configure(log, options.verbose ? log::Level::kDebug : log::Level::kInfo);
    status = machine::RunMachine(config, folder.path(), ready_fd);
  } catch (const std::exception& error) {
    log::Error("machine: {}", error.what());
  }
  // The parent removes what is left; when it is gone, nobody else would. After a failure it wants to read the log
  // first.
  const bool orphan = options.life == Life::kUntilDown || ::getppid() != parent;
  if (status == 0 && orphan) folder.Remove();
  ::_exit(status);
}

// Waits until the process has ended, or for this long.
bool WaitForEnd(pid_t pid, int timeout_ms) {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return errno == ESRCH;
  pollfd ended = {pidfd.get(), POLLIN, 0};
  int got;
  while ((got = ::poll(&ended, 1, timeout_ms)) < 0 && errno == EINTR) {
  }
  return got == 1;
}

void Reap(pid_t pid) {
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

std::string LogTail(const std::string& folder) {
  std::ifstream log(folder + "/log");
  std::vector<std::string> lines;
  for (std::string line; std::getline(log, line);) lines.push_back("  " + line + "\n");
  std::string tail;
  for (size_t i = lines.size() - std::min(lines.size(), kLogLines); i < lines.size(); ++i) tail += lines[i];
  return tail;
}

pid_t Launch(const Configuration& configuration, const MachineFolder& folder, const LaunchOptions& options) {
  WriteFile(folder.path() + "/config.toml", configuration.text);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) Fail(kExitFailure, "cannot make a pipe: {}", std::strerror(errno));
  const UniqueFd ready(ends[0]);
  UniqueFd ready_writer(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) Fail(kExitFailure, "cannot start a process: {}", std::strerror(errno));
  if (pid == 0) BeMachine(configuration.config, folder, options, parent, ready_writer.get());
  ready_writer.Reset();

  pollfd event = {ready.get(), POLLIN, 0};
  int got;
  while ((got = ::poll(&event, 1, kReadyTimeoutMs)) < 0 && errno == EINTR) {
  }
  char byte = 0;
  if (got == 1 && ::read(ready.get(), &byte, 1) == 1) return pid;
  if (got == 0) ::kill(pid, SIGKILL);
  Reap(pid);
  const std::string log = LogTail(folder.path());
  folder.Remove();
  Fail(kExitFailure, "the machine '{}' did not come up{}{}{}", folder.name(),
       got == 0 ? fmt::format(" within {} s", kReadyTimeoutMs / 1000) : "",
       log.empty() ? "" : "; the end of its log:\n", log.substr(0, log.empty() ? 0 : log.size() - 1));
}

void StopChild(pid_t machine, const MachineFolder& folder) {
  ::kill(machine, SIGTERM);
  if (!WaitForEnd(machine, kStopTimeoutMs)) ::kill(machine, SIGKILL);
  Reap(machine);
  folder.Remove();
}

void DropChild(pid_t machine, const MachineFolder& folder) {
  ::kill(machine, SIGKILL);
  folder.Remove();  // while the kernel takes the process apart
  Reap(machine);
}

Configuration ReadConfig(const std::string& path_or_empty) {
  std::string text(config::DefaultConfigText());
  std::string name = "built-in configuration";
  if (!path_or_empty.empty()) {
    name = path_or_empty;
    std::ifstream file(path_or_empty, std::ios::binary);
    std::ostringstream content;
    if (!file || !(content << file.rdbuf())) {
      Fail(kExitFailure, "cannot read the configuration {}: {}", path_or_empty, std::strerror(errno));
    }
    text = std::move(content).str();
  }
  config::ParseOutcome outcome = config::ParseConfig(text, name);
  if (outcome.config) return {*std::move(outcome.config), std::move(text)};
  std::string errors;
  for (const config::ConfigError& error : outcome.errors) errors += (errors.empty() ? "" : "\n") + error.ToString();
  throw Failure(kExitFailure, errors);
}

PrivateMachine PrivateMachine::Start(const Configuration& configuration, bool verbose) {
  MachineFolder folder = MachineFolder::Create(fmt::format("{}{}", kPrivatePrefix, ::getpid()));
  const pid_t pid = Launch(configuration, folder, {.life = Life::kWithParent, .verbose = verbose});
  return {std::move(folder), pid};
}

PrivateMachine::~PrivateMachine() {
  if (pid_ < 0) return;
  if (ended_) {
    folder_.Remove();
  } else {
    DropChild(pid_, folder_);
  }
}

}  // namespace causeway::cli
