// SPDX-License-Identifier: Apache-2.0
// The system-call channel between one program thread and its server thread in the machine.
//
//   program thread                               server thread of the same thread slot
//     fills slot.message, turn = kMachine, wake -->  carries the call out: reads and writes the program's memory itself
//     waits while turn == kMachine              <--  turn = kProgram, wake: message.op is kDone, or a request to the
//                                                    program (kInstallFd, kSendFd), which the program answers by
//                                                    turn = kMachine, until kDone comes
//
// Memory of the program: the server thread copies it by itself, from process to process, which is a system call each.
// What lies on the calling thread's stack can cross with the message instead:
//
//   input   a call's argument: slot.input has `input_bytes` bytes of the program's memory from `input_address` on, as
//           they were when the call was made
//   output  what the call stores to [stack_low, stack_high): slot.output of the kDone has `output_bytes` bytes of
//           records (OutputRecord), which the program's thread carries out in their order
//
// Descriptors cross on the process's control socket (AF_UNIX, SOCK_SEQPACKET, <machine dir>/machine.sock), on which
// only the program asks and only the machine's main loop answers, so that a process-wide mutex in the shim is all the
// order it needs. First exchange on a control socket: Hello -> Welcome (+ arena memfd). One control socket per process;
// a forked child closes its copy and makes its own.
#pragma once

#include "ipc/arena.h"

namespace causeway::ipc {

// kTurnClosed: the slot has no server any more (its program or the machine is going).
enum Turn : uint32_t { kTurnProgram = 0, kTurnMachine = 1, kTurnClosed = 2 };

// Message.op of a call. `file` names the open file (FileId) unless said otherwise; result is >= 0 or -errno.
enum class Op : uint32_t {
  kNone = 0,
  kOpen,    // arg0 node id, arg1 open flags, arg2 mode -> result fd (installed by kInstallFd before)
  kIoctl,   // arg0 request, arg1 argument, arg3 (kShareFirst) -> result
  kWrite,   // arg0 buffer, arg1 length, arg2 offset (-1: file position), arg3 (kShareFirst) -> result bytes;
            //   value0 = number of the queue pair that a POST_SEND named (0: the write was something else). Of a
            //   kFileRdmaCm: -EAGAIN as for kRead, with value1 = 1: take one readiness byte from the socket
  kRead,    // arg0 buffer, arg1 length, arg2 offset (-1: file position) -> result bytes; -EAGAIN when nothing is
            //   queued, whatever O_NONBLOCK says: the shim polls the descriptor and asks again.
            //   value0 = 1: nothing is left, take one readiness byte (one packet, MSG_DONTWAIT) from the socket
  kMmap,    // arg0 length, arg1 prot, arg2 flags, arg3 offset -> value0 memory id, value1 offset in that memory,
            //   value2 vma id (0: not tracked); the shim then maps the memory's descriptor (kMapMemory). value0 with
            //   kMapTrapsStores: it maps it read-only, and stores are kStoreMapped
  kMunmap,  // file 0; arg0 vma id
  kSeek,    // arg0 offset, arg1 whence -> result
  kStat,    // -> value0 mode, value1 rdev (major << 32 | minor), value2 size, value3 inode; file_kind is set too (the
            //   shim asks it of a descriptor that came by exec or SCM_RIGHTS)
  kSync,    // a descriptor of this file was closed: run release now if it was the last
  kFdInfo,  // arg0 buffer, arg1 length: text of /proc/self/fdinfo/N -> result bytes
  kName,    // arg0 buffer, arg1 length: what readlink("/proc/self/fd/N") says -> result bytes
  kMapMemory,  // file 0; arg0 memory id -> descriptor by kInstallFd with value1 = 1 (private: kept out of the program's
               //   numbers), result = size in bytes
  kAttribute,  // arg0 node id, arg1 open flags -> text of a sysfs attribute as a sealed memfd, by kInstallFd; -errno as
               //   show() failed
  kShareHost,  // file 0; arg0 address, arg1 length, both page aligned: the program is about to move these pages of its
               //   memory into the host memory (kHostMemory). -> value0 offset there; -EOPNOTSUPP switched off, -EBUSY
               //   a region reaches some of them by system call, -ENOSPC
  kHostUnmapped,  // file 0; arg0 address, arg1 length: pages of the host memory that were mapped there are not any more
  kExit,          // file 0; this thread leaves: its server thread ends, the slot is free
  kStoreMapped,   // file 0; arg0 vma id, arg1 offset in the mapping, arg2 value, arg3 bytes (at most 8)

  // Sockets (kernel/socket.h). What the machine sends is in the descriptor's own queue, one packet a message.
  kSocket,         // file 0; arg0 family, arg1 type with its flags, arg2 protocol -> result fd (by kInstallFd before)
  kBind,           // arg0 address, arg1 its length
  kConnect,        // arg0 address, arg1 its length
  kSocketName,     // arg0 buffer, arg1 address of its length, arg2 1: the peer's (getpeername())
  kSetOption,      // arg0 level, arg1 option, arg2 address of the value, arg3 its length
  kGetOption,      // arg0 level, arg1 option, arg2 address of the value, arg3 address of its length
  kSendMessage,    // arg0 address of a struct msghdr, arg1 flags, arg2 SO_SNDBUF -> result bytes
  kBeforeReceive,  // arg0 room for bytes: the program is about to receive; -errno is what it gets instead

  // Machine to program, while a call is in progress:
  kDone =
      0x100,   // the call has ended. After any call but kStat, value3 not 0: file id of which nothing is left to read
               //   (its events went with an object); take one readiness byte from its socket, as after kRead
  kInstallFd,  // value0 = open flags (O_CLOEXEC, O_NONBLOCK), value1 = 1 private; the program fetches the descriptor
               //   (ControlRequest::kFetchFd), answers with result = its number or -errno, value0 unchanged.
               //   file, file_kind: what it is, for the program's table; file 0 for a descriptor of no file of ours
  kSendFd,     // value0 = descriptor number the kernel half was given; the program passes it (kPutFd), answers with
               //   result 0, or -EBADF
  kCloseFd,    // value0 = descriptor number that kInstallFd made, to be taken back (a later step failed)
};

constexpr uint64_t kMapTrapsStores = uint64_t{1} << 32;  // kMmap's value0
// Result of a kIoctl or kWrite with arg3 = 1 that would pin pages which the program could share: nothing was done. The
// program moves what it can of value0 (address), value1 (length) into the host memory (kShareHost) and makes the call
// again with arg3 = 0.
constexpr int64_t kShareFirst = -512;  // ERESTARTSYS, which no program sees

// Message.file_kind: how the shim treats a descriptor.
enum FileKind : uint32_t {
  kFileNone = 0,
  kFileUverbs,  // writes of POST_SEND ring the doorbell in the program
  kFileDevice,  // any other character device
  kFileEvent,   // async or completion events: read() is a kRead, poll() is the socket's own
  kFileDmaBuf,
  kFileAttribute,  // an open sysfs attribute: kRead, kWrite, kSeek
  kFileRdmaCm,     // /dev/infiniband/rdma_cm: a write() may take an event, and waits for one as a read() does
  kFileNetlink,    // a netlink socket: what is received lies in the descriptor's queue
};

// Control-socket messages (one packet each, both ways).
struct ControlMessage {
  enum Type : uint32_t {
    kHello = 1,  // program: version, pid and tid; first message of a process or a fresh exec image
    kWelcome,    // machine: + arena memfd; slot = first thread's slot; value = arena bytes; result 0 or -errno
    kNewThread,  // program: tid -> kThread
    kThread,     // machine: slot; result 0 or -errno (ENOMEM: kMaxThreads reached)
    kFetchFd,    // program: slot -> kFd + descriptor
    kFd,         // machine
    kPutFd,      // program: slot, + descriptor -> kPutDone
    kPutDone,    // machine
  };
  uint32_t type;
  uint32_t version;
  uint32_t pid;
  uint32_t tid;
  uint32_t slot;
  int32_t result;
  uint64_t value;
};

// Environment variable that tells the shim its machine: absolute path of the machine's folder.
constexpr const char* kMachineEnv = "CAUSEWAY_MACHINE";
// Names in that folder.
constexpr const char* kSocketName = "machine.sock";   // programs (this file)
constexpr const char* kControlName = "control.sock";  // the causeway command (machine/control.h)

}  // namespace causeway::ipc
