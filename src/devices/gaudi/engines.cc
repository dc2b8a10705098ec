// SPDX-License-Identifier: Apache-2.0
#include "devices/gaudi/engines.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/result.h"

namespace causeway::gaudi {
namespace {

constexpr uint32_t kQuantum = 512;                      // packets of one CP before another's turn
constexpr uint32_t kQuantumHere = 64, kTurnsHere = 16;  // the same for RunHere(), and how many turns
constexpr uint32_t kStoreBatch = 256;                   // sync manager's stores between two looks at the CPs
constexpr uint32_t kPage = 4096;
constexpr size_t kMaxEvents = 64;  // not delivered yet; further ones are lost, as in a full event queue

}  // namespace

// The lock for a driver's thread: the engines' thread, which would take it again at once, lets it go first.
class Engines::DriverLock {
 public:
  explicit DriverLock(Engines& engines) : engines_(engines) {
    engines_.waiting_.fetch_add(1);
    lock_ = std::unique_lock(engines_.mutex_);
    engines_.waiting_.fetch_sub(1);
  }
  ~DriverLock() {
    lock_.unlock();
    if (engines_.waiting_.load() == 0) engines_.let_in_.notify_all();
  }
  DriverLock(const DriverLock&) = delete;
  DriverLock& operator=(const DriverLock&) = delete;
  std::unique_lock<std::mutex>& lock() { return lock_; }

 private:
  Engines& engines_;
  std::unique_lock<std::mutex> lock_;
};

Engines::Engines(Asic asic, Fabric& fabric, ipc::MemoryTable& memories, uint32_t storage, uint64_t storage_offset)
    : asic_(asic),
      fabric_(fabric),
      memories_(memories),
      storage_(storage),
      storage_offset_(storage_offset),
      specs_(QmansOf(asic)),
      pages_(MapOf(asic).cfg_size / kPage) {
  for (uint32_t i = 0; i < specs_.size(); ++i) {
    qmans_.push_back(std::make_unique<Qman>(asic, specs_[i], i, *this));
    AddBlock(Block::kQman, i, specs_[i].base, kQmanBlockSize);
    if (specs_[i].has_dma()) AddBlock(Block::kDma, i, DmaBase(i), DmaRegistersOf(asic).size);
  }
  sync_managers_.reserve(kSyncManagers);
  for (uint32_t dcore = 0; dcore < kSyncManagers; ++dcore) {
    const bool driver_queues = asic == Asic::kGaudi2 && dcore == 0;
    sync_managers_.emplace_back(asic, driver_queues ? kGaudi2DriverCqs : 0);
    AddBlock(Block::kSyncManager, dcore, SyncManagerBase(asic, dcore), SyncManagerRegistersOf(asic).size);
    if (asic == Asic::kGaudi2) AddBlock(Block::kSyncManagerGlobal, dcore, SyncManagerGlobalBase(dcore), kPage);
  }
  if (asic == Asic::kGaudi) {
    AddBlock(Block::kMsi, 0, kGaudiMsiRequest, kPage);
  } else {
    AddBlock(Block::kMsix, 0, kGaudi2MsixDoorbell, kPage);
    AddBlock(Block::kDbi, 0, kGaudi2DbiMsixDoorbell / kPage * kPage, kPage);
  }
  is_ready_.resize(specs_.size() * 8);
}

Engines::~Engines() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    ++epoch_;
    work_.notify_all();
    let_in_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Engines::AddBlock(Block block, uint32_t number, uint32_t base, uint32_t size) {
  for (uint32_t offset = 0; offset < size; offset += kPage) {
    pages_.at((base + offset) / kPage) = {.block = block, .number = static_cast<uint8_t>(number), .base = base};
  }
}

void Engines::SetClient(EngineClient* client) {
  std::unique_lock lock(mutex_);
  client_ = client;
  let_in_.wait(lock, [&] { return !delivering_; });  // the old one is not being called any more
}

// ---- driver's side

void Engines::WriteRegisters(std::span<const RegisterWrite> writes) {
  DriverLock lock(*this);
  for (const RegisterWrite& write : writes) StoreRegister(write.offset, write.value, Origin::kDriver);
}

void Engines::RingDoorbells(std::span<const RegisterWrite> writes) {
  DriverLock lock(*this);
  const bool running = std::exchange(running_, true);
  for (const RegisterWrite& write : writes) StoreRegister(write.offset, write.value, Origin::kDriver);
  running_ = running;
}

void Engines::RunHere() {
  DriverLock lock(*this);
  if (running_) return;
  running_ = here_ = true;
  hand_over_ = false;
  // An event may make the driver reset the device: that is nothing for a thread in a system call.
  for (uint32_t turn = 0; turn < kTurnsHere && !NothingToDo() && !hand_over_ && !stop_; ++turn) {
    if (!commits_.empty() || !events_.empty()) break;
    Turn(lock.lock(), kQuantumHere);
  }
  running_ = here_ = false;
  if (!NothingToDo()) Wake();
}

uint32_t Engines::ReadRegister(uint32_t offset) {
  DriverLock lock(*this);
  return LoadRegister(offset);
}

Engines::MappedRegisters Engines::MapRegisters(uint32_t offset, uint32_t size) {
  DriverLock lock(*this);
  bool act = false;
  for (uint32_t at = offset; at < offset + size; at += kPage) {
    const Page page = pages_.at(at / kPage);
    if (page.block == Block::kStorage) continue;
    act = true;
    if (page.block != Block::kSyncManager && page.block != Block::kSyncManagerGlobal) continue;
    const uint32_t objects = SyncManagerBase(asic_, page.number);
    sync_managers_[page.number].PublishTo(
        &Storage(objects), asic_ == Asic::kGaudi2 ? &Storage(SyncManagerGlobalBase(page.number)) : nullptr);
  }
  return {.memory = storage_, .offset = storage_offset_ + offset, .stores_act = act};
}

void Engines::StoreBytes(uint32_t offset, uint64_t value, uint32_t bytes) {
  DriverLock lock(*this);
  for (uint32_t done = 0; done < bytes;) {
    const uint32_t into = (offset + done) % 4;
    const uint32_t part = std::min(4 - into, bytes - done);
    uint32_t word = part == 4 ? 0 : LoadRegister(offset + done);
    std::memcpy(reinterpret_cast<std::byte*>(&word) + into, reinterpret_cast<const std::byte*>(&value) + done, part);
    StoreRegister(offset + done, word, Origin::kDriver);
    done += part;
  }
}

bool Engines::ReadMemory(uint64_t address, std::span<std::byte> to) {
  DriverLock lock(*this);
  return !fabric_.Read(address, to, false).has_value();
}

bool Engines::WriteMemory(uint64_t address, std::span<const std::byte> from) {
  DriverLock lock(*this);
  return !fabric_.Write(address, from, false).has_value();
}

void Engines::InvalidateMmuCache() {
  DriverLock lock(*this);
  fabric_.InvalidateTlb();
}

void Engines::Reset() {
  DriverLock lock(*this);
  ++epoch_;
  for (const auto& qman : qmans_) qman->Reset();
  for (SyncManager& manager : sync_managers_) manager.Reset(0, 0, 0);
  ready_.clear();
  is_ready_.assign(is_ready_.size(), false);
  commits_.clear();
  interrupts_.clear();
  events_.clear();
  memories_.Discard(storage_, storage_offset_, MapOf(asic_).cfg_size);
}

void Engines::ResetSyncManagers(std::span<const uint32_t> from_sob, std::span<const uint32_t> from_monitor) {
  DriverLock lock(*this);
  for (uint32_t dcore = 0; dcore < kSyncManagers; ++dcore) {
    sync_managers_[dcore].Reset(from_sob[dcore], from_monitor[dcore], 0);
  }
}

std::array<uint64_t, 4> Engines::BusyMask() {
  DriverLock lock(*this);
  std::array<uint64_t, 4> mask{};
  for (const auto& qman : qmans_) {
    const uint16_t engine = qman->spec().engine_id;
    if (qman->Busy()) mask[engine / 64] |= uint64_t{1} << engine % 64;
  }
  return mask;
}

bool Engines::Idle() {
  const auto mask = BusyMask();
  return std::ranges::all_of(mask, [](uint64_t word) { return word == 0; });
}

std::string Engines::Describe() {
  DriverLock lock(*this);
  std::string text;
  for (const auto& qman : qmans_) {
    for (uint32_t cp = 0; cp < kCps; ++cp) {
      const std::string_view state = qman->StateName(cp);
      if (state == "idle") continue;
      text += "engine " + std::to_string(qman->spec().engine_id) + " CP " + std::to_string(cp) + ": ";
      text += state;
      text += '\n';
    }
  }
  return text;
}

// ---- registers

uint32_t& Engines::Storage(uint32_t offset) {
  static thread_local uint32_t nowhere;
  uint64_t len = 4;
  std::byte* const bytes = memories_.At(storage_, storage_offset_ + (offset & ~3u), &len);
  if (bytes == nullptr || len < 4) return nowhere = 0;
  return *reinterpret_cast<uint32_t*>(bytes);
}

bool Engines::RefusesSyncManagerStore(const Page& page, uint32_t offset) const {
  if (asic_ != Asic::kGaudi2 || page.number != 0) return false;
  if (page.block == Block::kSyncManagerGlobal) {
    return offset < kSmCqBaseLo || (offset - kSmCqBaseLo) % 0x100 / 4 < kGaudi2DriverCqs;
  }
  const uint32_t index = offset % 0x2000 / 4;
  return offset < kGaudi2Sm.pay_addr_lo ? offset / 4 < kGaudi2DriverSobs : index < kGaudi2DriverMonitors;
}

void Engines::StoreRegister(uint32_t offset, uint32_t value, Origin origin) {
  offset &= ~3u;
  if (offset / kPage >= pages_.size()) return;
  const Page page = pages_[offset / kPage];
  const uint32_t into = offset - page.base;
  switch (page.block) {
    case Block::kQman: return qmans_[page.number]->WriteRegister(into, value, origin);
    case Block::kSyncManager:
    case Block::kSyncManagerGlobal: {
      if (origin == Origin::kProgram && RefusesSyncManagerStore(page, into)) {
        return Report({.kind = EngineEvent::Kind::kRefusedStore,
                       .engine_id = 0xffff,
                       .qman = 0,
                       .cp = 0,
                       .address = fabric_.map().cfg_base + offset,
                       .write = true,
                       .cb_address = 0,
                       .cb_size = 0,
                       .value = value});
      }
      SyncManager& manager = sync_managers_[page.number];
      if (page.block == Block::kSyncManagerGlobal) {
        manager.WriteGlobal(into, value);
      } else {
        manager.Write(into, value);
      }
      if (manager.HasStores()) Wake();
      return;
    }
    case Block::kDma:
      Storage(offset) = value;
      if (into == DmaRegistersOf(asic_).commit) {
        commits_.emplace_back(page.number, value);
        Wake();
      }
      return;
    case Block::kMsi: interrupts_.push_back(0); return Wake();
    case Block::kMsix: interrupts_.push_back(value); return Wake();
    case Block::kDbi:
      if (offset == kGaudi2DbiMsixDoorbell) {
        interrupts_.push_back(value);
        return Wake();
      }
      break;
    case Block::kStorage: break;
  }
  Storage(offset) = value;
}

uint32_t Engines::LoadRegister(uint32_t offset) {
  offset &= ~3u;
  if (offset / kPage >= pages_.size()) return 0;
  const Page page = pages_[offset / kPage];
  switch (page.block) {
    case Block::kQman: return qmans_[page.number]->ReadRegister(offset - page.base);
    case Block::kSyncManager: return sync_managers_[page.number].Read(offset - page.base);
    case Block::kSyncManagerGlobal: return sync_managers_[page.number].ReadGlobal(offset - page.base);
    default: return Storage(offset);
  }
}

// ---- stores and DMA registers

bool Engines::Store(uint64_t address, uint32_t value, Origin origin) {
  // LBW messages may leave CFG_BASE out.
  if (asic_ == Asic::kGaudi2 && address < fabric_.map().cfg_size) {
    StoreRegister(static_cast<uint32_t>(address), value, origin);
    return true;
  }
  const Run run = fabric_.Find(address, sizeof(value), origin == Origin::kDriver);
  if (run.kind == Run::Kind::kRegisters) {
    StoreRegister(static_cast<uint32_t>(run.offset), value, origin);
    return true;
  }
  if (run.kind == Run::Kind::kBytes && run.len == sizeof(value)) {
    std::memcpy(run.bytes, &value, sizeof(value));
    if (run.is_host_memory) fabric_.traffic().written.fetch_add(sizeof(value), std::memory_order_relaxed);
    return true;
  }
  return !fabric_.Write(address, std::as_bytes(std::span(&value, 1)), origin == Origin::kDriver).has_value();
}

void Engines::SetDmaBases(uint32_t qman, uint64_t source, uint64_t target, uint32_t bytes) {
  const DmaRegisters& r = DmaRegistersOf(asic_);
  const uint32_t base = DmaBase(qman);
  Storage(base + r.src_base_lo) = static_cast<uint32_t>(source);
  Storage(base + r.src_base_hi) = static_cast<uint32_t>(source >> 32);
  Storage(base + r.dst_base_lo) = static_cast<uint32_t>(target);
  Storage(base + r.dst_base_hi) = static_cast<uint32_t>(target >> 32);
  if (bytes != 0) Storage(base + r.src_tsize0) = bytes;
}

void Engines::ReadDmaShapes(uint32_t qman, DmaShape* source, DmaShape* target) {
  const DmaRegisters& r = DmaRegistersOf(asic_);
  const uint32_t base = DmaBase(qman);
  const auto quad = [&](uint32_t lo, uint32_t hi) { return uint64_t{Storage(base + hi)} << 32 | Storage(base + lo); };
  source->base = quad(r.src_base_lo, r.src_base_hi);
  target->base = quad(r.dst_base_lo, r.dst_base_hi);
  source->bytes = Storage(base + r.src_tsize0);
  target->bytes = Storage(base + r.dst_tsize0);
  for (uint32_t n = 0; n < 4; ++n) {
    source->count[n] = Storage(base + r.src_dims + n * 8);
    source->stride[n] = Storage(base + r.src_dims + n * 8 + 4);
    target->count[n] = Storage(base + r.dst_dims + n * 8);
    target->stride[n] = Storage(base + r.dst_dims + n * 8 + 4);
  }
}

Engines::Transposition Engines::ReadTransposition(uint32_t qman, uint32_t commit) {
  const DmaRegisters& r = DmaRegistersOf(asic_);
  const uint32_t base = DmaBase(qman), rows = Storage(base + r.te_numrows);
  if (asic_ == Asic::kGaudi) {
    return {(commit & kGaudiDmaTranspose) != 0, rows, (commit & kGaudiDma32Bits) != 0 ? 4u : 2u};
  }
  constexpr uint32_t kElements[4] = {0, 1, 2, 4};
  const uint32_t ctrl = Storage(base + r.ctrl);
  return {(ctrl & kGaudi2CtrlTranspose) != 0, rows, kElements[Gaudi2CtrlElementOf(ctrl)]};
}

void Engines::SignalDmaCompletion(uint32_t qman) {
  const DmaRegisters& r = DmaRegistersOf(asic_);
  const uint32_t base = DmaBase(qman);
  const uint64_t address = uint64_t{Storage(base + r.comp_addr_hi)} << 32 | Storage(base + r.comp_addr_lo);
  if (address == 0) return;
  if (!Store(address, Storage(base + r.comp_wdata), Origin::kProgram)) {
    Report({.kind = EngineEvent::Kind::kPageFault,
            .engine_id = specs_[qman].engine_id,
            .qman = qman,
            .cp = 0,
            .address = address,
            .write = true,
            .cb_address = 0,
            .cb_size = 0,
            .value = 0});
  }
}

bool Engines::RunCommitsSlow(std::unique_lock<std::mutex>& lock) {
  bool good = true;
  while (!commits_.empty()) {
    const auto [qman, value] = commits_.front();
    commits_.pop_front();
    good = qmans_[qman]->RunDescriptor(lock, value) && good;
  }
  return good;
}

void Engines::Report(const EngineEvent& event) {
  if (events_.size() < kMaxEvents) events_.push_back(event);
  Wake();
}

void Engines::ReportRefusedStore(uint32_t qman, uint32_t offset) {
  Report({.kind = EngineEvent::Kind::kRefusedStore,
          .engine_id = specs_[qman].engine_id,
          .qman = qman,
          .cp = 0,
          .address = fabric_.map().cfg_base + offset,
          .write = true,
          .cb_address = 0,
          .cb_size = 0,
          .value = 0});
}

// ---- the thread

void Engines::MarkReady(uint32_t qman, uint32_t cp) {
  const uint32_t id = qman * 8 + cp;
  if (is_ready_[id]) return;
  is_ready_[id] = true;
  ready_.push_back(id);
  if (ready_.size() == 1) Wake();
}

void Engines::Wake() {
  if (running_) return;
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
  work_.notify_one();
}

void Engines::DrainStores(uint32_t budget) {
  for (SyncManager& manager : sync_managers_) {
    SmStore store;
    for (uint32_t n = 0; n < budget && manager.TakeStore(&store); ++n) {
      bool done = true;
      const Origin origin = store.driver_queue ? Origin::kDriver : Origin::kProgram;
      if (store.completion_queue) {
        done = !fabric_.Write(store.address, std::as_bytes(std::span(&store.value, 1)).first(store.bytes),
                              store.driver_queue);
      } else {
        // A payload's address may be that of a driver's register only if the driver armed the monitor; what it then
        // stores (a fence, an interrupt) a program could store as well.
        done = Store(store.address, static_cast<uint32_t>(store.value), origin);
      }
      if (!done) {
        Report({.kind = EngineEvent::Kind::kPageFault,
                .engine_id = 0xffff,
                .qman = 0,
                .cp = 0,
                .address = store.address,
                .write = true,
                .cb_address = 0,
                .cb_size = 0,
                .value = 0});
      }
    }
  }
}

void Engines::Deliver(std::unique_lock<std::mutex>& lock) {
  std::vector<uint32_t> interrupts;
  std::vector<EngineEvent> events;
  interrupts.swap(interrupts_);
  if (!here_) events.swap(events_);
  EngineClient* const client = client_;
  if (client == nullptr) return;
  delivering_ = true;
  lock.unlock();
  for (const uint32_t vector : interrupts) client->Interrupt(vector);
  for (const EngineEvent& event : events) client->Event(event);
  lock.lock();
  delivering_ = false;
  let_in_.notify_all();
}

void Engines::LetOthersIn(std::unique_lock<std::mutex>& lock) {
  if (waiting_.load(std::memory_order_relaxed) == 0) return;
  let_in_.wait(lock, [&] { return waiting_.load() == 0 || stop_; });
}

bool Engines::NothingToDo() const {
  return ready_.empty() && commits_.empty() && interrupts_.empty() && events_.empty() &&
         std::ranges::none_of(sync_managers_, [](const SyncManager& manager) { return manager.HasStores(); });
}

void Engines::Turn(std::unique_lock<std::mutex>& lock, uint32_t quantum) {
  DrainStores(kStoreBatch);
  if (!here_) (void)RunCommits(lock);
  // No packets while a sync manager has more to store than it gets done: a program could fill this process with them.
  if (!ready_.empty() && std::ranges::none_of(sync_managers_, &SyncManager::IsBehind)) {
    const uint32_t id = ready_.front();
    ready_.pop_front();
    is_ready_[id] = false;
    if (qmans_[id / 8]->Run(id % 8, quantum, lock)) MarkReady(id / 8, id % 8);
  }
  if (!interrupts_.empty() || (!events_.empty() && !here_)) Deliver(lock);
  LetOthersIn(lock);
}

void Engines::Loop() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (!running_ && !NothingToDo()) {
      running_ = true;
      while (!NothingToDo() && !stop_) Turn(lock, kQuantum);
      running_ = false;
      continue;
    }
    work_.wait(lock);
  }
}

}  // namespace causeway::gaudi
