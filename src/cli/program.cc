// SPDX-License-Identifier: Apache-2.0
#include "cli/program.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/unique_fd.h"
#include "cli/elf.h"
#include "cli/failure.h"

namespace causeway::cli {
namespace {

constexpr std::string_view kDefaultPath = "/bin:/usr/bin";  // what execvp() searches when PATH is not set (glibc)
constexpr int kMaxScripts = 4;                              // linux fs/exec.c exec_binprm(): depth > 5 is ELOOP
constexpr size_t kScriptLine = 256;                         // BINPRM_BUF_SIZE
constexpr std::string_view kLibraryName = "libcauseway.so";

// Errno of executing this file, 0 when it may be.
int CannotExecute(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return errno;
  if (S_ISDIR(status.st_mode)) return EISDIR;
  if (!S_ISREG(status.st_mode)) return EACCES;
  return ::access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

[[noreturn]] void RefuseToExecute(const std::string& path, int error) {
  const int status = error == ENOENT || error == ENOTDIR ? kExitNotFound : kExitNotExecutable;
  Fail(status, "{}: {}", path, std::strerror(error));
}

std::string SearchPath(const std::string& name, const char* path_variable) {
  if (name.empty()) Fail(kExitNotFound, "the program's name is empty");
  if (name.find('/') != std::string::npos) {
    if (const int error = CannotExecute(name)) RefuseToExecute(name, error);
    return name;
  }
  std::string_view rest = path_variable != nullptr ? std::string_view(path_variable) : kDefaultPath;
  std::optional<std::string> forbidden;
  for (;;) {
    const size_t colon = rest.find(':');
    const std::string_view folder = rest.substr(0, colon);
    std::string candidate = folder.empty() ? "./" + name : std::string(folder) + "/" + name;
    const int error = CannotExecute(candidate);
    if (error == 0) return candidate;
    if (error == EACCES && !forbidden) forbidden = std::move(candidate);  // as execvp(): go on, but remember
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  if (forbidden) RefuseToExecute(*forbidden, EACCES);
  Fail(kExitNotFound, "{}: not found in PATH", name);
}

// Whether executing the file raises privileges, and how; then the loader ignores LD_PRELOAD (ld.so(8), secure-execution
// mode). linux v6.1 fs/exec.c bprm_fill_uid() and security/commoncap.c cap_bprm_creds_from_file().
std::optional<std::string> RaisesPrivileges(const std::string& path) {
  struct stat status = {};
  struct statvfs system = {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return std::nullopt;
  if (::statvfs(path.c_str(), &system) == 0 && (system.f_flag & ST_NOSUID) != 0) return std::nullopt;
  if ((status.st_mode & S_ISUID) != 0 && status.st_uid != ::getuid()) return "setuid";
  if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && status.st_gid != ::getgid()) return "setgid";
  if (::getuid() != 0 && ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0)
    return "given file capabilities";
  return std::nullopt;
}

// "" when the file does not begin with "#!"; else the interpreter (linux fs/binfmt_script.c load_script()).
Result<std::string> ScriptInterpreter(int fd) {
  char line[kScriptLine] = {};
  const ssize_t got = ::pread(fd, line, sizeof(line), 0);
  if (got < 0) return HostErr();
  std::string_view text(line, static_cast<size_t>(got));
  if (!text.starts_with("#!")) return std::string();
  text = text.substr(2, text.find('\n') - 2);
  constexpr std::string_view kBlank = " \t";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return std::string();
  text.remove_prefix(begin);
  return std::string(text.substr(0, text.find_first_of(std::string_view(" \t\0", 3))));
}

bool IsSanitizerRunTime(const std::string& soname) {
  constexpr std::array<std::string_view, 4> kRunTimes = {"libasan.so", "libtsan.so", "liblsan.so", "libhwasan.so"};
  return std::ranges::any_of(kRunTimes, [&](std::string_view name) { return soname.starts_with(name); });
}

// Throws Failure when the ELF file cannot be served. `of` is what the user asked for.
void CheckServable(const std::string& path, const std::string& of, const ElfFacts& elf) {
  const std::string what = path == of ? path : fmt::format("{} (which runs {})", path, of);
  constexpr bool kNative64 = sizeof(void*) == 8;
  if (elf.machine != NativeElfMachine() || elf.is_64bit != kNative64) {
    Fail(
        kExitNotExecutable,
        "{} cannot be served: it is built for another kind of processor ({}-bit, ELF machine {}), and the library that "
        "serves the devices is {}-bit, ELF machine {}; use a native build of it",
        what, elf.is_64bit ? 64 : 32, elf.machine, kNative64 ? 64 : 32, NativeElfMachine());
  }
  const bool is_loader = elf.soname.starts_with("ld-");  // `ld.so PROG` loads PROG itself, LD_PRELOAD included
  if (elf.interpreter.empty() && !is_loader) {
    Fail(kExitNotExecutable,
         "{} cannot be served: it is linked statically, so no dynamic loader runs that could load the library which "
         "serves the devices; link it dynamically (without -static; a Go program: with CGO_ENABLED=1)",
         what);
  }
  if (elf.interpreter.find("/ld-musl") != std::string::npos) {
    Fail(
        kExitNotExecutable,
        "{} cannot be served: its loader is {}, and the library that serves the devices needs the GNU C library; use a "
        "build for glibc",
        what, elf.interpreter);
  }
}

void CheckPrivileges(const std::string& path) {
  if (const auto how = RaisesPrivileges(path)) {
    Fail(kExitNotExecutable,
         "{} cannot be served: it is {}, and the dynamic loader then ignores LD_PRELOAD; run a copy of it without that "
         "(cp {} . && causeway run -- ./{})",
         path, *how, path, path.substr(path.rfind('/') + 1));
  }
}

}  // namespace

Program FindProgram(const std::string& name, const char* path_variable) {
  Program program;
  program.path = SearchPath(name, path_variable);
  program.loaded = program.path;
  for (int depth = 0;; ++depth) {
    const UniqueFd fd(::open(program.loaded.c_str(), O_RDONLY | O_CLOEXEC));
    // An executable file that may not be read runs all the same; the loader's own words will have to do.
    if (!fd) {
      CheckPrivileges(program.loaded);
      return program;
    }
    const Result<std::string> interpreter = ScriptInterpreter(fd.get());
    if (!interpreter) Fail(kExitNotExecutable, "{}: {}", program.loaded, std::strerror(interpreter.error().code()));
    if (!interpreter->empty()) {
      if (depth == kMaxScripts) Fail(kExitNotExecutable, "{}: too many levels of #! lines", program.path);
      if (const int error = CannotExecute(*interpreter)) {
        Fail(error == ENOENT ? kExitNotFound : kExitNotExecutable, "{}: its #! line names {}: {}", program.loaded,
             *interpreter, std::strerror(error));
      }
      program.loaded = *interpreter;
      continue;
    }
    const Result<ElfFacts> elf = ReadElf(fd.get());
    if (elf) {
      CheckServable(program.loaded, program.path, *elf);
      CheckPrivileges(program.loaded);
      std::ranges::copy_if(elf->needed, std::back_inserter(program.run_times), IsSanitizerRunTime);
      return program;
    }
    if (elf.error() != Errno(ENOEXEC) || depth > 0 || program.is_plain_text) {
      Fail(kExitNotExecutable, "{}: {}", program.loaded, std::strerror(elf.error().code()));
    }
    char magic[4] = {};
    if (::pread(fd.get(), magic, sizeof(magic), 0) == sizeof(magic) && std::memcmp(magic, "\177ELF", 4) == 0) {
      Fail(kExitNotExecutable, "{}: a broken or unknown kind of ELF file", program.loaded);
    }
    program.is_plain_text = true;
    program.loaded = "/bin/sh";
  }
}

std::string PreloadFor(const std::vector<std::string>& run_times, const std::string& library,
                       std::string_view inherited) {
  std::vector<std::string> entries = run_times;
  entries.push_back(library);
  while (!inherited.empty()) {
    const size_t end = inherited.find_first_of(" :");  // both separate (ld.so(8))
    const std::string entry(inherited.substr(0, end));
    const bool is_ours = entry == library || entry == kLibraryName || entry.ends_with("/" + std::string(kLibraryName));
    if (!entry.empty() && !is_ours && std::ranges::find(entries, entry) == entries.end()) entries.push_back(entry);
    if (end == std::string_view::npos) break;
    inherited.remove_prefix(end + 1);
  }
  std::string value;
  for (const std::string& entry : entries) value += (value.empty() ? "" : ":") + entry;
  return value;
}

}  // namespace causeway::cli
