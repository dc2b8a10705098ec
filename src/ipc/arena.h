// SPDX-License-Identifier: Apache-2.0
// The arena: one sparse memfd that the machine creates and every program of the machine maps whole. It holds
//
//   ArenaHeader     who the machine is, which paths it claims, its nodes; written before the first program connects
//   ThreadSlot[]    one per program thread that talks to the machine: the system-call channel (channel.h) and what the
//                   NIC's data path needs to be undone if the thread is killed (epoch, held locks)
//   regions         pci's bus map and the NIC's context memory (their layouts belong to pci/bus_map.h and
//                   devices/roce_nic/nic_memory.h; the header only says where they start)
//
// Everything here is addressed by offset, never by pointer, and every field that two processes touch is an atomic.
// Freestanding: the preloaded library uses it, so no C++ run-time library is needed to use these types.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace causeway::ipc {

constexpr uint64_t kArenaMagic = 0x3176617765737561;  // "ausewav1"
constexpr uint32_t kProtocolVersion = 3;
constexpr uint32_t kMaxThreads = 16384;  // program threads connected at once
constexpr uint32_t kMaxClaims = 64;
constexpr uint32_t kMaxNodes = 2048;

// Where the regions start.
enum Region : uint32_t { kRegionBusMap, kRegionNic, kRegionNicHeap, kRegionCount };

// One placeholder in the machine's tree that is more than a plain file: the shim finds it by inode number.
struct NodeEntry {
  enum Kind : uint32_t { kFree, kCharDevice, kAttribute };
  std::atomic<uint64_t> inode;  // of the placeholder file in the tree; the key
  uint32_t kind;
  uint32_t mode;  // st_mode as a program sees it
  uint32_t rdev_major, rdev_minor;
  uint32_t node_id;  // what Op::kOpen names
  uint32_t reserved;
};

struct alignas(64) ArenaHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t machine_pid;
  uint64_t arena_bytes;
  // A robust mutex held by a machine thread for the machine's whole life. When the machine dies, however it dies, the
  // kernel sets FUTEX_OWNER_DIED in its first word: programs learn it from one load (MachineAlive()).
  pthread_mutex_t life;
  char machine_id[32];   // hexadecimal; machine's sockets are bound to "\0causeway/<machine_id>/<file id in hex>"
  char tree_root[192];   // absolute path of the folder in which sys/ and dev/ of the machine lie
  uint64_t tree_device;  // st_dev of that folder
  // Paths that the machine serves before the real ones are tried: "/dev/infiniband", "/sys/class/accel", ... A claim
  // that ends in '*' claims every name with that prefix ("/dev/hl*"). No trailing slash.
  uint32_t claim_count;
  char claims[kMaxClaims][64];
  std::atomic<uint32_t> node_count;
  NodeEntry nodes[kMaxNodes];
  uint64_t region_offset[kRegionCount];
  uint64_t slots_offset;  // ThreadSlot[kMaxThreads]
  // No program thread was ever given one of the slots from here on: who looks at all of them stops here, and the pages
  // of the others are not touched.
  std::atomic<uint32_t> slots_used;
};

// Levels of data-path locks, outermost first: send queue; receive queue; shared receive queue or memory window;
// completion queue.
enum LockLevel : uint32_t { kLockSq, kLockRq, kLockShared, kLockCq, kLockLevels };

// A message of the channel; see channel.h for what each field means per operation.
struct Message {
  uint32_t op;
  uint32_t file_kind;
  uint64_t file;
  uint64_t arg[4];
  int64_t result;
  uint64_t value[4];
  // Memory of the program that crosses with a call and its kDone (channel.h).
  uint64_t input_address;
  uint32_t input_bytes, output_bytes;
  uint64_t stack_low, stack_high;
};

// Bytes that cross with a call, and with its answer. Longer ones are copied from process to process.
constexpr uint32_t kCallBytes = 512;
// One store to the program's memory in ThreadSlot::output; the bytes follow it, padded to a multiple of its size.
struct OutputRecord {
  uint64_t address;
  uint64_t bytes;
};

struct alignas(64) ThreadSlot {
  enum State : uint32_t { kFree, kConnected, kDead };
  std::atomic<uint32_t> state;
  uint32_t pid;
  uint32_t tid;
  uint32_t mm;  // index of the address space (nic_memory.h MmEntry)

  // Data path. Odd while this thread is inside it; objects are freed only after every slot that was odd has moved on.
  alignas(64) std::atomic<uint64_t> epoch;
  // Arena offset of the lock this thread holds or is taking, per level; 0 none. What the machine releases when the
  // thread is killed.
  std::atomic<uint64_t> lock[kLockLevels];

  // System-call channel: whose turn it is (futex word), who sleeps on that, and the message. A side says that it
  // sleeps, then lets the kernel compare `turn`; the other stores `turn`, then asks: sequentially consistent, so one of
  // them sees the other, and nobody who is awake costs a FUTEX_WAKE.
  alignas(64) std::atomic<uint32_t> turn;
  std::atomic<uint32_t> program_sleeps, machine_sleeps;
  Message message;
  alignas(64) std::byte input[kCallBytes];
  std::byte output[kCallBytes];
};

inline bool MachineAlive(const ArenaHeader& header) {
  constexpr uint32_t kFutexOwnerDied = 0x40000000;
  // pthread_mutex_t begins with its futex word (glibc ABI): 0 when never taken or released.
  const auto* word = reinterpret_cast<const std::atomic<uint32_t>*>(&header.life);
  const uint32_t value = word->load(std::memory_order_relaxed);
  return value != 0 && (value & kFutexOwnerDied) == 0;
}

}  // namespace causeway::ipc
