// SPDX-License-Identifier: Apache-2.0
// The open files of the machine. A file that programs hold has a socket pair: one end is the descriptor in programs
// (however many: dup, fork, exec and SCM_RIGHTS copy it), the other is kept here.
//
//   program end(s) ---------------- machine's end, bound to "\0causeway/<machine id>/<file id in hex>"
//     readable while a byte is        |
//     queued: SetReadable() sent it   +-- EOF: the last descriptor is gone; the entry drops its Ref, release() runs
//
// Why a name: getpeername() on a descriptor tells any process, also one that got it by exec or SCM_RIGHTS, which file
// it is. Releases run on the table's own thread, or in a call that asks for them (Sync, Drain); never on a thread that
// serves control sockets, because a release may wait for program threads that are being served.
//
// Readiness: at most one byte is queued while entry.readable. `generation` counts SetReadable() calls, so that a read
// that found the file empty knows whether something came in the meantime.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/ref.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/file.h"
#include "kernel/readiness.h"
#include "kernel/socket.h"

namespace causeway::kernel {

class FileTable : public Readiness, public Packets {
 public:
  explicit FileTable(std::string machine_id);
  ~FileTable() override;

  // What the file may be used for: open()'s access mode. Files that no open() made are not restricted here.
  static constexpr uint32_t kAnyAccess = ~uint32_t{0};

  struct Installed {
    UniqueFd end;  // the program's
    FileId id;
  };
  // Gives the file its id and its socket pair. `flags`: O_NONBLOCK counts. The machine holds the file until the
  // program's end and all its copies are closed: from here on another thread may release it.
  // errors: EMFILE, ENFILE of the machine; EEXIST the file has its descriptor already.
  Result<Installed> Install(Ref<File> file, uint32_t flags, uint32_t access, pid_t opener);
  struct Opened {
    Ref<File> file;
    uint32_t access = kAnyAccess;
  };
  // errors: EBADF.
  Result<Opened> Get(FileId id) const;
  // Which file a descriptor is: the program's end of one of our socket pairs. An empty Ref: none of ours.
  Ref<File> Identify(int descriptor) const;

  // Runs release now if the file's last descriptor is gone; returns after it ran.
  void Sync(FileId id);
  // The same for all files.
  void Drain();
  // Releases every file, whoever has it open. For the machine's end: before the drivers that the files belong to go.
  void ReleaseAll();

  // ---- Readiness
  void SetReadable(FileId file) override;
  void ClearReadable(FileId file) override;
  uint64_t Generation(FileId file) const;
  // Nothing was left to read when the generation was `generation`. True: the program shall take one byte back.
  bool TakeReadable(FileId file, uint64_t generation);

  // ---- Packets
  Status SendPacket(FileId file, std::span<const std::byte> packet) override;
  size_t QueuedBytes(FileId file) const override;

  // While one lives, ClearReadable() on this thread is remembered for the program that is being served: the byte is in
  // its socket, only it can take it.
  class CallScope {
   public:
    CallScope();
    ~CallScope();
    CallScope(const CallScope&) = delete;
    CallScope& operator=(const CallScope&) = delete;
    FileId cleared() const { return cleared_; }  // 0 none

   private:
    friend class FileTable;
    FileId cleared_ = 0;
    CallScope* const outer_;
  };

  struct FileInfo {
    FileId id;
    pid_t opener;
    std::string name;
  };
  std::vector<FileInfo> List() const;
  size_t size() const;

 private:
  struct Entry {
    Ref<File> file;
    UniqueFd end;
    uint32_t access = kAnyAccess;
    pid_t opener = 0;
    bool readable = false;
    uint64_t generation = 0;
  };
  void Drop(FileId id);  // no lock held but release_mutex_, or nothing
  void Run();

  const std::string name_prefix_;  // "\0causeway/<machine id>/"
  UniqueFd epoll_;                 // machine's ends, for hangup only
  UniqueFd stop_;
  // Outermost. Held while releases run, so that who needs them done (Sync, Drain) waits for those under way.
  mutable std::mutex release_mutex_;
  // Guards what follows. Innermost: no file operation runs under it.
  mutable std::mutex mutex_;
  FileId next_id_ = 1;
  std::unordered_map<FileId, Entry> entries_;
  std::thread thread_;
};

}  // namespace causeway::kernel
