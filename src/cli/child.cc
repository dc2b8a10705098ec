// SPDX-License-Identifier: Apache-2.0
#include "cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cli/failure.h"

namespace causeway::cli {
namespace {

struct Pipe {
  UniqueFd reader, writer;
};
Pipe MakePipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) Fail(kExitFailure, "cannot make a pipe: {}", std::strerror(errno));
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

bool EndsTheCommand(uint32_t signal) {
  return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT;
}

}  // namespace

Child::Child(const SignalsHeld& signals, const std::string& machine_path, const std::vector<std::string>& arguments)
    : name_(arguments[0].substr(arguments[0].rfind('/') + 1)) {
  const Program program = FindProgram(arguments[0], std::getenv("PATH"));
  const auto environment = ServedEnvironment(machine_path, program.run_times);
  Pipe input = MakePipe(), output = MakePipe(), errors = MakePipe();
  signal_fd_.Reset(::signalfd(-1, &signals.held(), SFD_CLOEXEC | SFD_NONBLOCK));
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) Fail(kExitFailure, "cannot start a process: {}", std::strerror(errno));
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(kExitFailure);
    ::dup2(input.reader.get(), STDIN_FILENO);
    ::dup2(output.writer.get(), STDOUT_FILENO);
    ::dup2(errors.writer.get(), STDERR_FILENO);
    ::sigprocmask(SIG_SETMASK, &signals.before(), nullptr);
    BecomeProgram(program, arguments, environment);
    fmt::print(stderr, "{}: {}\n", program.path, std::strerror(errno));
    ::_exit(kExitNotExecutable);
  }
  input_ = std::move(input.writer);
  output_ = std::move(output.reader);
  errors_ = std::move(errors.reader);
}

Child::~Child() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool Child::Fill(int timeout_ms) {
  while (output_ || errors_) {
    pollfd events[] = {{output_.get(), POLLIN, 0}, {errors_.get(), POLLIN, 0}, {signal_fd_.get(), POLLIN, 0}};
    const int count = ::poll(events, std::size(events), timeout_ms);
    if (count < 0) continue;  // EINTR
    if (count == 0) return true;
    signalfd_siginfo signal = {};
    if (events[2].revents != 0 && ::read(signal_fd_.get(), &signal, sizeof(signal)) == sizeof(signal) &&
        EndsTheCommand(signal.ssi_signo)) {
      Fail(kExitSignal + static_cast<int>(signal.ssi_signo),
           "interrupted; everything that was started has been removed");
    }
    bool got_text = false;
    const auto take = [&](UniqueFd& fd, const pollfd& event, std::string& into) {
      if (event.revents == 0) return;
      char buffer[4096];
      const ssize_t got = ::read(fd.get(), buffer, sizeof(buffer));
      if (got < 0 && errno == EINTR) return;
      if (got <= 0) return fd.Reset();
      into.append(buffer, static_cast<size_t>(got));
      got_text = true;
    };
    take(output_, events[0], text_);
    take(errors_, events[1], error_);
    if (got_text) return true;
  }
  return false;
}

bool Child::ReadLine(std::string& line) {
  for (;;) {
    const size_t end = text_.find('\n');
    if (end != std::string::npos) {
      line = text_.substr(0, end);
      text_.erase(0, end + 1);
      return true;
    }
    if (Fill()) continue;
    line = std::exchange(text_, {});
    return !line.empty();
  }
}

std::string Child::ReadAll() {
  while (Fill()) {
  }
  return std::exchange(text_, {});
}

void Child::Write(const std::string& text) {
  // The child may be gone: its exit status says more than EPIPE would.
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  (void)!::write(input_.get(), text.data(), text.size());
  ::signal(SIGPIPE, before);
}

bool Child::Pause(int timeout_ms) { return Fill(timeout_ms); }

int Child::Wait() {
  input_.Reset();
  while (Fill()) {
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFSIGNALED(status) ? kExitSignal + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace causeway::cli
