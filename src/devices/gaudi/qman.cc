// SPDX-License-Identifier: Apache-2.0
// Queue side of a queue manager: registers, PQ entries, buffers, arbiter. What packets do is in qman_packets.cc.
#include "devices/gaudi/qman.h"

#include <algorithm>
#include <cstring>

#include "devices/gaudi/engines.h"

namespace causeway::gaudi {
namespace {

constexpr size_t kAhead = 4096;  // bytes of commands read at once
constexpr uint64_t kLow = 0xffffffff;
constexpr uint32_t kFenceMax = 0xff;  // what a fence packet can wait for
constexpr uint32_t kMaxPqSizeLog2 = 20;

// struct hl_bd.
struct PqEntry {
  uint64_t address;
  uint32_t len;
  uint32_t ctl;
};
static_assert(sizeof(PqEntry) == 16);

constexpr uint32_t CompOffsetOf(uint32_t ctl) { return (ctl >> 16) & 0xfff; }

// Which of `count` registers at `base` is it?
bool InArray(uint32_t offset, uint32_t base, uint32_t count, uint32_t* n) {
  if (offset < base || offset >= base + count * 4 || offset % 4 != 0) return false;
  *n = (offset - base) / 4;
  return true;
}

}  // namespace

Qman::Qman(Asic asic, const QmanSpec& spec, uint32_t index, Engines& engines)
    : asic_(asic),
      spec_(spec),
      registers_(QmanRegistersOf(asic)),
      index_(index),
      engines_(engines),
      mover_(engines.fabric(), engines.epoch()) {}

void Qman::Reset() {
  cfg0_ = 0;
  trusted_ = false;
  cps_.fill({});
  streams_.fill({});
  lower_.clear();
  pqc_base_ = 0;
  pqc_cfg_ = arb_cfg_ = 0;
  arb_owner_ = -1;
  arb_last_ = 0;
}

bool Qman::Busy() const {
  if (!lower_.empty()) return true;
  for (const Stream& stream : streams_) {
    if (stream.in_entry || stream.pi != stream.ci) return true;
  }
  return !cps_[kLowerCp].buffers.empty();
}

const char* Qman::StateName(uint32_t cp) const {
  switch (cps_[cp].state) {
    case State::kFence: return "waits for a fence";
    case State::kArbiter: return "waits for the arbiter";
    case State::kLowerQueue: return "waits for the lower CP";
    case State::kStopped: return "stopped";
    case State::kReady: break;
  }
  const bool work = cp == kLowerCp ? !cps_[cp].buffers.empty() || !lower_.empty() : streams_[cp].in_entry;
  return work ? "runs" : "idle";
}

void Qman::Ready(uint32_t cp) { engines_.MarkReady(index_, cp); }

void Qman::WriteRegister(uint32_t offset, uint32_t value, Origin origin) {
  uint32_t n = 0;
  for (uint32_t fence = 0; fence < kFences; ++fence) {
    if (!InArray(offset, registers_.fence_rdata + fence * kFenceStride, kCps, &n)) continue;
    uint32_t& count = cps_[n].fences[fence];
    count = std::min(count + std::min(value, kFenceMax), kFenceMax);
    if (cps_[n].state == State::kFence) Ready(n);
    return;
  }
  if (offset == registers_.arb_cfg0) {
    arb_cfg_ = value;
    if ((value & kArbEnable) == 0) arb_owner_ = -1;
    return Ready(kArbiterTurn);
  }
  if (InArray(offset, registers_.arb_wrr_weight, kStreams, &n)) {
    streams_[n].weight = streams_[n].credit = std::max(value, 1u);
    return;
  }
  // The rest is the driver's (range registers keep programs away from it); other arbiter registers are only storage.
  if (origin == Origin::kProgram) {
    if (offset > registers_.arb_cfg0 && offset < kQmanBlockSize) return;
    engines_.ReportRefusedStore(index_, spec_.base + offset);
    return;
  }
  if (offset == registers_.glbl_cfg0) {
    cfg0_ = value;
    for (uint32_t stream = 0; stream < kStreams; ++stream) {
      if (streams_[stream].pi != streams_[stream].ci) Ready(stream);
    }
  } else if (offset == registers_.glbl_prot) {
    trusted_ = value != 0;
  } else if (InArray(offset, registers_.pq_base_lo, kStreams, &n)) {
    streams_[n].pq_base = (streams_[n].pq_base & ~kLow) | value;
  } else if (InArray(offset, registers_.pq_base_hi, kStreams, &n)) {
    streams_[n].pq_base = (streams_[n].pq_base & kLow) | uint64_t{value} << 32;
  } else if (InArray(offset, registers_.pq_size, kStreams, &n)) {
    streams_[n].pq_size_log2 = std::min(value, kMaxPqSizeLog2);
  } else if (InArray(offset, registers_.pq_pi, kStreams, &n)) {
    streams_[n].pi = value & ((2u << streams_[n].pq_size_log2) - 1);
    Ready(n);
  } else if (InArray(offset, registers_.pq_ci, kStreams, &n)) {
    streams_[n].ci = value & ((2u << streams_[n].pq_size_log2) - 1);
  } else if (registers_.pqc_cfg != 0 && InArray(offset, registers_.pqc_lbw_wdata, kStreams, &n)) {
    streams_[n].pqc_wdata = value;
  } else if (registers_.pqc_cfg != 0 && offset == registers_.pqc_lbw_base_lo) {
    pqc_base_ = (pqc_base_ & ~kLow) | value;
  } else if (registers_.pqc_cfg != 0 && offset == registers_.pqc_lbw_base_hi) {
    pqc_base_ = (pqc_base_ & kLow) | uint64_t{value} << 32;
  } else if (registers_.pqc_cfg != 0 && offset == registers_.pqc_cfg) {
    pqc_cfg_ = value;
  } else {
    for (uint32_t base = 0; base < kMsgBases; ++base) {
      if (InArray(offset, registers_.msg_base_lo[base], kCps, &n)) {
        cps_[n].msg_base[base] = (cps_[n].msg_base[base] & ~kLow) | value;
      } else if (InArray(offset, registers_.msg_base_hi[base], kCps, &n)) {
        cps_[n].msg_base[base] = (cps_[n].msg_base[base] & kLow) | uint64_t{value} << 32;
      }
    }
  }
}

uint32_t Qman::ReadRegister(uint32_t offset) const {
  uint32_t n = 0;
  for (uint32_t fence = 0; fence < kFences; ++fence) {
    if (InArray(offset, registers_.fence_cnt + fence * kFenceStride, kCps, &n)) return cps_[n].fences[fence];
  }
  if (offset == registers_.glbl_cfg0) return cfg0_;
  if (offset == registers_.arb_cfg0) return arb_cfg_;
  if (InArray(offset, registers_.pq_base_lo, kStreams, &n)) return static_cast<uint32_t>(streams_[n].pq_base);
  if (InArray(offset, registers_.pq_base_hi, kStreams, &n)) return static_cast<uint32_t>(streams_[n].pq_base >> 32);
  if (InArray(offset, registers_.pq_size, kStreams, &n)) return streams_[n].pq_size_log2;
  if (InArray(offset, registers_.pq_pi, kStreams, &n)) return streams_[n].pi;
  if (InArray(offset, registers_.pq_ci, kStreams, &n)) return streams_[n].ci;
  if (InArray(offset, registers_.arb_wrr_weight, kStreams, &n)) return streams_[n].weight;
  return 0;
}

bool Qman::FetchEntry(uint32_t number) {
  Stream& stream = streams_[number];
  if (cfg0_ == 0 || stream.pi == stream.ci) return false;
  PqEntry entry;
  const uint32_t slot = stream.ci & ((1u << stream.pq_size_log2) - 1);
  const uint64_t address = stream.pq_base + uint64_t{slot} * sizeof(entry);
  if (const auto fault = engines_.fabric().Read(address, std::as_writable_bytes(std::span(&entry, 1)), true)) {
    (void)Fault(number, *fault, false);
    return false;
  }
  stream.in_entry = true;
  stream.entry_ctl = entry.ctl;
  stream.entry_address = entry.address;
  stream.entry_len = entry.len;
  CommandProcessor& cp = cps_[number];
  cp.buffers.clear();
  cp.buffers.push_back({.address = entry.address, .left = entry.len});
  cp.ahead.clear();
  cp.ahead_at = 0;
  return true;
}

// Gaudi2: the end of a PQ entry is told by a message, SOB_BASE + the entry's offset.
void Qman::FinishEntry(uint32_t number) {
  Stream& stream = streams_[number];
  stream.in_entry = false;
  stream.ci = (stream.ci + 1) & ((2u << stream.pq_size_log2) - 1);
  if ((pqc_cfg_ & 1) != 0) {
    (void)engines_.Store(pqc_base_ + uint64_t{CompOffsetOf(stream.entry_ctl)} * 4, stream.pqc_wdata, Origin::kDriver);
  }
}

// Makes the CP's innermost buffer one that has something in it. False: nothing to do now.
bool Qman::NextBuffer(uint32_t number) {
  CommandProcessor& cp = cps_[number];
  for (;;) {
    while (!cp.buffers.empty() && cp.buffers.back().left == 0 && cp.ahead_at == cp.ahead.size()) {
      cp.buffers.pop_back();
      cp.ahead.clear();
      cp.ahead_at = 0;
    }
    if (!cp.buffers.empty()) return true;
    if (number == kLowerCp) {
      if (lower_.empty()) return false;
      LowerBuffer& front = lower_.front();
      if (front.buffer.left == 0) {  // done
        Stream& stream = streams_[front.stream];
        --stream.lower_left;
        if (stream.lower_left == 0 || cps_[front.stream].state == State::kLowerQueue) Ready(front.stream);
        lower_.pop_front();
        continue;
      }
      cp.buffers.push_back(std::exchange(front.buffer, {}));
      return true;
    }
    Stream& stream = streams_[number];
    if (stream.in_entry) {
      if (stream.lower_left != 0) return false;  // its CP_DMAs belong to the entry
      FinishEntry(number);
    }
    if (!FetchEntry(number)) return false;
  }
}

// At least `bytes` of the innermost buffer are in `ahead`. False: the buffer is shorter, or the CP was stopped.
bool Qman::ReadAhead(uint32_t number, size_t bytes) {
  CommandProcessor& cp = cps_[number];
  const size_t have = cp.ahead.size() - cp.ahead_at;
  if (have >= bytes) return true;
  Buffer& buffer = cp.buffers.back();
  if (buffer.left < bytes - have) return false;
  cp.ahead.erase(cp.ahead.begin(), cp.ahead.begin() + static_cast<ptrdiff_t>(cp.ahead_at));
  cp.ahead_at = 0;
  const size_t more = std::min<uint64_t>(buffer.left, std::max(bytes - have, kAhead - std::min(have, kAhead)));
  cp.ahead.resize(have + more);
  if (const auto fault = engines_.fabric().Read(buffer.address, std::span(cp.ahead).subspan(have), trusted_)) {
    cp.ahead.resize(have);
    (void)Fault(number, *fault, false);
    return false;
  }
  buffer.address += more;
  buffer.left -= more;
  return true;
}

bool Qman::FenceOpens(CommandProcessor& cp) {
  uint32_t& count = cp.fences[cp.fence_id];
  if (count < cp.fence_target) return false;
  count -= std::min(count, cp.fence_dec);
  return true;
}

bool Qman::Run(uint32_t number, uint32_t budget, std::unique_lock<std::mutex>& lock) {
  if (number == kArbiterTurn) {
    GrantArbiter();
    return false;
  }
  CommandProcessor& cp = cps_[number];
  switch (cp.state) {
    case State::kStopped: return false;
    case State::kArbiter: return false;  // GrantArbiter() makes it ready
    case State::kFence:
      if (!FenceOpens(cp)) return false;
      cp.state = State::kReady;
      break;
    case State::kLowerQueue: cp.state = State::kReady; break;
    case State::kReady: break;
  }
  while (budget-- != 0) {
    if (!NextBuffer(number)) return false;
    if (!ReadAhead(number, 8)) {
      if (cp.state != State::kStopped) (void)UndefinedOpcode(number, 0);  // less than a packet is left
      return false;
    }
    uint32_t words[2];
    std::memcpy(words, cp.ahead.data() + cp.ahead_at, sizeof(words));
    if (engines_.here() && !IsShortPacket(asic_, words[0], words[1])) {
      engines_.HandOver();
      return true;
    }
    const uint32_t size = PacketSize(asic_, words[0], words[1]);
    if (size == 0) {
      (void)UndefinedOpcode(number, OpcodeOf(words[1]));
      return false;
    }
    if (!ReadAhead(number, size)) {
      if (cp.state != State::kStopped) (void)UndefinedOpcode(number, OpcodeOf(words[1]));
      return false;
    }
    switch (Execute(number, size, lock)) {
      case Next::kGo: break;
      case Next::kWait:
      case Next::kStop: return false;
    }
  }
  return true;
}

Qman::Next Qman::ArbPoint(uint32_t number, uint32_t word0) {
  if (number == kLowerCp || (arb_cfg_ & kArbEnable) == 0) return Next::kGo;
  const int stream = static_cast<int>(number);
  if ((word0 & kArbRelease) != 0) {
    if (arb_owner_ == stream) {
      arb_owner_ = -1;
      Ready(kArbiterTurn);
    }
    return Next::kGo;
  }
  if (arb_owner_ == stream) return Next::kGo;
  streams_[number].priority = ArbPriorityOf(asic_, word0);
  streams_[number].asked = ++arb_clock_;
  cps_[number].state = State::kArbiter;
  Ready(kArbiterTurn);
  return Next::kWait;
}

// The arbiter's turn comes when every stream that could run has run: ARB_MST_QUIET_PER of the hardware is there so that
// streams that become ready together are compared, whichever asks first. Chooses among those that wait: the highest
// priority, the first that asked among equals; or in turn, each as often as its weight says before all have had their
// share.
void Qman::GrantArbiter() {
  const bool enabled = (arb_cfg_ & kArbEnable) != 0;
  const auto waits = [&](uint32_t n) { return cps_[n].state == State::kArbiter; };
  if (!enabled) {
    for (uint32_t n = 0; n < kStreams; ++n) {
      if (!waits(n)) continue;
      cps_[n].state = State::kReady;
      Ready(n);
    }
    return;
  }
  if (arb_owner_ >= 0) return;
  int chosen = -1;
  if ((arb_cfg_ & kArbTypeWrr) == 0) {
    for (uint32_t n = 0; n < kStreams; ++n) {
      if (!waits(n)) continue;
      const Stream& best = streams_[static_cast<size_t>(std::max(chosen, 0))];
      const bool better = chosen < 0 || streams_[n].priority > best.priority ||
                          (streams_[n].priority == best.priority && streams_[n].asked < best.asked);
      if (better) chosen = static_cast<int>(n);
    }
  } else {
    for (int round = 0; round < 2 && chosen < 0; ++round) {
      for (uint32_t step = 0; step < kStreams && chosen < 0; ++step) {
        const uint32_t n = (arb_last_ + step) % kStreams;
        if (waits(n) && streams_[n].credit != 0) chosen = static_cast<int>(n);
      }
      if (chosen < 0) {
        for (Stream& stream : streams_) stream.credit = stream.weight;
      }
    }
    if (chosen >= 0) {
      Stream& stream = streams_[static_cast<size_t>(chosen)];
      --stream.credit;
      arb_last_ = static_cast<uint32_t>(stream.credit == 0 ? chosen + 1 : chosen) % kStreams;
    }
  }
  if (chosen < 0) return;
  arb_owner_ = chosen;
  cps_[static_cast<size_t>(chosen)].state = State::kReady;
  Ready(static_cast<uint32_t>(chosen));
}

Qman::Next Qman::Stop(uint32_t number) {
  cps_[number].state = State::kStopped;
  return Next::kStop;
}

Qman::Next Qman::Fault(uint32_t number, uint64_t address, bool write) {
  engines_.Report({.kind = EngineEvent::Kind::kPageFault,
                   .engine_id = spec_.engine_id,
                   .qman = index_,
                   .cp = number,
                   .address = address,
                   .write = write,
                   .cb_address = 0,
                   .cb_size = 0,
                   .value = 0});
  return Stop(number);
}

Qman::Next Qman::UndefinedOpcode(uint32_t number, uint32_t opcode) {
  const Stream* stream = number < kStreams ? &streams_[number] : nullptr;
  engines_.Report({.kind = EngineEvent::Kind::kUndefinedOpcode,
                   .engine_id = spec_.engine_id,
                   .qman = index_,
                   .cp = number,
                   .address = 0,
                   .write = false,
                   .cb_address = stream != nullptr ? stream->entry_address : 0,
                   .cb_size = stream != nullptr ? stream->entry_len : 0,
                   .value = opcode});
  return Stop(number);
}

}  // namespace causeway::gaudi
