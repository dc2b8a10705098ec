// SPDX-License-Identifier: Apache-2.0
// The engines of a device behind their registers: queue managers, DMA cores, sync managers, and the thread that runs
// them.
//
//   driver: WriteRegister() (MMIO) ---\                      /--> Interrupt(vector)   MSI-X doorbell
//   engine thread: packets, payloads --> register dispatch --+--> QMAN, DMA core, sync manager, storage
//                                                            \--> Event(...)          faults, undefined opcodes
//
// One thread, started by the first work, runs whatever can run, a quantum of packets at a time in turn, and sleeps when
// nothing can. A driver's thread that has rung a doorbell may do the first, short part itself (RunHere()): two switches
// of threads less for a submission of a few packets. mutex_ guards all state; it is dropped while bytes are moved and
// while the client is called. Register accesses of the driver wait for the end of the current quantum at most.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "devices/gaudi/engine_table.h"
#include "devices/gaudi/fabric.h"
#include "devices/gaudi/qman.h"
#include "devices/gaudi/registers.h"
#include "devices/gaudi/sync_manager.h"

namespace causeway::gaudi {

// What hardware tells by its event queue or an error interrupt.
struct EngineEvent {
  enum class Kind : uint8_t {
    kUndefinedOpcode,  // also a packet that its buffer cuts short; the CP has stopped
    kPageFault,        // an address that leads nowhere; the CP has stopped
    kRefusedStore,     // a program's store to a register that is not its (range registers); dropped
  };
  Kind kind;
  uint16_t engine_id;  // bit of INFO HW_IDLE's mask; 0xffff: no engine, a sync manager
  uint32_t qman;       // index in QmansOf()
  uint32_t cp;         // 0..3 streams, 4 the lower one
  uint64_t address;    // device address; kRefusedStore: of the register
  bool write;
  uint64_t cb_address;  // buffer the stream was executing, and its size
  uint32_t cb_size;
  uint32_t value;  // the opcode
};

// The driver's interrupt handlers. Called without locks of the engines held: Event() on their thread, Interrupt() there
// or by RunHere().
class EngineClient {
 public:
  virtual ~EngineClient() = default;
  virtual void Interrupt(uint32_t vector) = 0;
  virtual void Event(const EngineEvent& event) = 0;
};

struct RegisterWrite {
  uint32_t offset;  // from CFG_BASE
  uint32_t value;
};

class Engines {
 public:
  // Bytes [storage_offset, + cfg_size) of memory object `storage` hold the registers that nothing else keeps.
  Engines(Asic asic, Fabric& fabric, ipc::MemoryTable& memories, uint32_t storage, uint64_t storage_offset);
  ~Engines();
  Engines(const Engines&) = delete;
  Engines& operator=(const Engines&) = delete;

  // Before the first work. The client outlives the engines, or is taken away (nullptr) first.
  void SetClient(EngineClient* client);

  // ---- the driver's side (any thread)
  void WriteRegister(uint32_t offset, uint32_t value) { WriteRegisters({{{offset, value}}}); }
  void WriteRegisters(std::span<const RegisterWrite> writes);
  void WriteRegisters(std::initializer_list<RegisterWrite> writes) {
    WriteRegisters(std::span<const RegisterWrite>(writes.begin(), writes.size()));
  }
  // The same, but the engines' thread is not woken for it: the caller lets its locks go and calls RunHere().
  void RingDoorbells(std::span<const RegisterWrite> writes);
  // Runs what can run, unless it is being done already: packets that take no time, a few hundred of them. What is left
  // (transfers, above all) is the engines' thread's.
  void RunHere();
  uint32_t ReadRegister(uint32_t offset);
  // Bytes [offset, + size) of CFG, whole pages, as loads through BAR0 see them, in a memory object. What engines and
  // the driver store there later shows. `stores_act`: these registers do more than keep what is stored, so a store is
  // StoreBytes(), and not one to the memory; where false, both are the same.
  struct MappedRegisters {
    uint32_t memory = 0;
    uint64_t offset = 0;
    bool stores_act = false;
  };
  MappedRegisters MapRegisters(uint32_t offset, uint32_t size);
  // A store of 1, 2, 4 or 8 bytes through BAR0, within that many bytes' alignment or not. The bus cuts it into words.
  void StoreBytes(uint32_t offset, uint64_t value, uint32_t bytes);
  // Bytes at a device address, as debugfs and tests look at them. False: nothing is there, or registers are.
  bool ReadMemory(uint64_t address, std::span<std::byte> to);
  bool WriteMemory(uint64_t address, std::span<const std::byte> from);
  // The driver has unmapped something (hl_mmu_invalidate_cache()): no translation of it is kept, and nothing of its
  // host memory, but for a transfer under way.
  void InvalidateMmuCache();
  // Every engine to its state after power-up; a transfer under way ends. Registers of storage are zeroed.
  void Reset();
  // What a Gaudi's driver does between users: sync objects, monitors (from these up, per sync manager) to zero.
  void ResetSyncManagers(std::span<const uint32_t> from_sob, std::span<const uint32_t> from_monitor);

  std::array<uint64_t, 4> BusyMask();  // bit: engine id
  bool Idle();
  // Text lines "engine, stream, state" for INFO ENGINE_STATUS.
  std::string Describe();
  const std::vector<QmanSpec>& qman_specs() const { return specs_; }

  // ---- the engines' own (with the lock held)
  Fabric& fabric() { return fabric_; }
  const uint64_t& epoch() const { return epoch_; }
  void MarkReady(uint32_t qman, uint32_t cp);
  // A 32-bit store to any address. False: nothing is there.
  bool Store(uint64_t address, uint32_t value, Origin origin);
  void StoreRegister(uint32_t offset, uint32_t value, Origin origin);
  uint32_t LoadRegister(uint32_t offset);
  void Report(const EngineEvent& event);
  void ReportRefusedStore(uint32_t qman, uint32_t offset);
  void SetDmaBases(uint32_t qman, uint64_t source, uint64_t target, uint32_t bytes);
  void ReadDmaShapes(uint32_t qman, DmaShape* source, DmaShape* target);
  // The transposition that a commit asks for, as the registers say.
  struct Transposition {
    bool wanted = false;
    uint32_t rows = 0, element = 0;  // element 0: of a size that is not modelled
  };
  Transposition ReadTransposition(uint32_t qman, uint32_t commit);
  void SignalDmaCompletion(uint32_t qman);
  // Carries out the DMA descriptors that were committed. False: one of them failed.
  bool RunCommits(std::unique_lock<std::mutex>& lock) { return commits_.empty() || RunCommitsSlow(lock); }
  // Does RunHere() run? Then only short packets are to be executed, and HandOver() leaves the rest to the thread.
  bool here() const { return here_; }
  void HandOver() { hand_over_ = true; }

 private:
  enum class Block : uint8_t { kStorage, kQman, kDma, kSyncManager, kSyncManagerGlobal, kMsi, kMsix, kDbi };
  struct Page {
    Block block = Block::kStorage;
    uint8_t number = 0;
    uint32_t base = 0;
  };
  void AddBlock(Block block, uint32_t number, uint32_t base, uint32_t size);
  bool RunCommitsSlow(std::unique_lock<std::mutex>& lock);
  uint32_t& Storage(uint32_t offset);
  uint32_t DmaBase(uint32_t qman) const { return specs_[qman].base + QmanRegistersOf(asic_).core; }
  bool RefusesSyncManagerStore(const Page& page, uint32_t offset) const;
  void DrainStores(uint32_t budget);
  void Deliver(std::unique_lock<std::mutex>& lock);
  void Wake();
  void Turn(std::unique_lock<std::mutex>& lock, uint32_t quantum);
  bool NothingToDo() const;
  void Loop();
  void LetOthersIn(std::unique_lock<std::mutex>& lock);
  class DriverLock;

  const Asic asic_;
  Fabric& fabric_;
  ipc::MemoryTable& memories_;
  const uint32_t storage_;
  const uint64_t storage_offset_;
  const std::vector<QmanSpec> specs_;
  std::atomic<uint32_t> waiting_{0};  // driver threads that want the lock

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable let_in_;
  EngineClient* client_ = nullptr;
  std::vector<Page> pages_;  // by offset / 4096
  std::vector<std::unique_ptr<Qman>> qmans_;
  std::vector<SyncManager> sync_managers_;
  std::deque<uint32_t> ready_;  // qman * 8 + cp
  std::vector<bool> is_ready_;
  std::deque<std::pair<uint32_t, uint32_t>>
      commits_;                       // with the value stored: qmans whose DMA core has a descriptor to carry out
  std::vector<uint32_t> interrupts_;  // not delivered yet
  std::vector<EngineEvent> events_;
  uint64_t epoch_ = 0;
  bool delivering_ = false;
  bool running_ = false;    // somebody runs the engines: nobody is to be woken for new work
  bool here_ = false;       // and it is RunHere()
  bool hand_over_ = false;  // which is to end
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace causeway::gaudi
