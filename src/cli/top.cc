// SPDX-License-Identifier: Apache-2.0
// causeway top: a live view in the terminal, or one look for scripts.
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"
#include "cli/control_client.h"
#include "cli/failure.h"
#include "cli/machine_folder.h"
#include "cli/top_view.h"
#include "cli/verbs.h"

namespace causeway::cli {
namespace {

void Write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

// Keys come at once and unseen, on a screen of its own; all is put back at the end, whatever ends it.
class Screen {
 public:
  Screen() {
    is_terminal_ = ::isatty(STDIN_FILENO) == 1 && ::tcgetattr(STDIN_FILENO, &before_) == 0;
    if (is_terminal_) {
      struct termios raw = before_;
      raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      (void)::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    Write("\x1b[?1049h\x1b[?25l");
  }
  ~Screen() {
    Write("\x1b[?25h\x1b[?1049l");
    if (is_terminal_) (void)::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  // Descriptor to wait for keys on; -1: none will come.
  int keys() const { return is_terminal_ ? STDIN_FILENO : -1; }

 private:
  bool is_terminal_ = false;
  struct termios before_ = {};
};

TerminalSize SizeOfTerminal() {
  struct winsize size = {};
  TerminalSize result;
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 && size.ws_row != 0) {
    result = {.columns = size.ws_col, .rows = size.ws_row};
  }
  --result.rows;  // the cursor's
  return result;
}

// Clears what the last picture left beyond this one's lines.
void Draw(const std::string& text) {
  std::string picture = "\x1b[H";
  for (const char c : text) picture += c == '\n' ? std::string("\x1b[K\n") : std::string(1, c);
  Write(picture + "\x1b[J");
}

// Waits; true: the user wants to go.
bool Wait(int keys, int signals, int milliseconds) {
  struct pollfd polls[2] = {{signals, POLLIN, 0}, {keys, POLLIN, 0}};
  if (::poll(polls, 2, milliseconds) <= 0) return false;
  if (polls[0].revents != 0) {
    struct signalfd_siginfo info = {};
    (void)!::read(signals, &info, sizeof(info));
    return info.ssi_signo != SIGWINCH;
  }
  char key = 0;
  if (::read(keys, &key, 1) != 1) return true;  // the terminal is gone
  return key == 'q' || key == 'Q';
}

}  // namespace

int Top(const TopOptions& options) {
  const LiveMachine machine = RequireMachine(options.name);
  const auto interval = static_cast<int>(options.interval * 1000);
  nlohmann::ordered_json before = AskOp(machine.path, "top");
  if (options.json || ::isatty(STDOUT_FILENO) != 1) {
    (void)::poll(nullptr, 0, interval);
    const nlohmann::ordered_json sample = WithRates(before, AskOp(machine.path, "top"));
    if (options.json) {
      nlohmann::ordered_json document = {{"machine", machine.name}};
      document.update(sample);
      Write(document.dump(2) + "\n");
    } else {
      Write(RenderTop(machine.name, sample, {.columns = SIZE_MAX, .rows = 0}));
    }
    return 0;
  }
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&mask, signal);
  (void)::sigprocmask(SIG_BLOCK, &mask, nullptr);
  const UniqueFd signals(::signalfd(-1, &mask, SFD_CLOEXEC));
  const Screen screen;
  nlohmann::ordered_json sample = WithRates(before, before);
  for (;;) {
    Draw(RenderTop(machine.name, sample, SizeOfTerminal()));
    if (Wait(screen.keys(), signals.get(), interval)) return 0;
    nlohmann::ordered_json now = AskOp(machine.path, "top");
    sample = WithRates(before, now);
    before = std::move(now);
  }
}

}  // namespace causeway::cli
