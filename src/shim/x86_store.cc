// SPDX-License-Identifier: Apache-2.0
// Encodings: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2 and appendix A.
#include "shim/x86_store.h"

#include <cpuid.h>
#include <string.h>

namespace causeway::shim {
namespace {

constexpr int kRegister[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
constexpr unsigned kAx = 0, kCx = 1, kSp = 4, kBp = 5, kSi = 6, kDi = 7;
constexpr size_t kMaxInstruction = 15;
constexpr greg_t kDirectionFlag = 1 << 10;

enum Prefix : uint8_t { kNoPrefix, k66, kF3, kF2 };

class Instruction {
 public:
  Instruction(ucontext_t* context, StoreSink* sink)
      : context_(context),
        sink_(sink),
        start_(reinterpret_cast<const uint8_t*>(context->uc_mcontext.gregs[REG_RIP])),
        at_(start_) {}

  bool Run() {
    if (!Prefixes()) return false;
    const uint8_t opcode = Next();
    if (opcode == 0xc5 || opcode == 0xc4) return !rex_seen_ && mandatory_ == kNoPrefix && !lock_ && Vex(opcode == 0xc4);
    if (opcode == 0x62) return !rex_seen_ && mandatory_ == kNoPrefix && !lock_ && Evex();
    if (opcode == 0x0f) return !lock_ && TwoBytes(Next());
    return OneByte(opcode);
  }

 private:
  greg_t& Reg(unsigned number) { return context_->uc_mcontext.gregs[kRegister[number]]; }
  uint64_t Value(unsigned number) { return static_cast<uint64_t>(Reg(number)); }

  uint8_t Next() {
    if (at_ >= start_ + kMaxInstruction) {
      bad_ = true;
      return 0;
    }
    return *at_++;
  }
  uint64_t Immediate(unsigned bytes) {  // little endian, as the processor has it
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(Next()) << (8 * i);
    return value;
  }
  int64_t Signed(unsigned bytes) {
    const uint64_t value = Immediate(bytes);
    const unsigned shift = 64 - 8 * bytes;
    return static_cast<int64_t>(value << shift) >> shift;
  }

  bool Prefixes() {
    for (;;) {
      const uint8_t byte = Next();
      switch (byte) {
        case 0x66: size16_ = true; break;
        case 0xf2:
        case 0xf3: repeat_ = byte; break;
        case 0xf0: lock_ = true; break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e: break;  // no effect in 64-bit mode
        case 0x64:
        case 0x65:
        case 0x67: return false;
        default:
          if ((byte & 0xf0) == 0x40) {
            rex_ = byte & 0xf;
            rex_seen_ = true;
          } else {
            --at_;
          }
          mandatory_ = repeat_ == 0xf3 ? kF3 : repeat_ == 0xf2 ? kF2 : size16_ ? k66 : kNoPrefix;
          return !bad_;
      }
    }
  }

  bool W() const { return (rex_ & 8) != 0; }
  unsigned OperandSize() const { return W() ? 8 : size16_ ? 2 : 4; }

  // ModRM with a memory operand; `after` bytes of immediate follow. False: a register operand.
  bool Memory(unsigned after) {
    const uint8_t modrm = Next();
    const unsigned mod = modrm >> 6, rm = modrm & 7;
    field_ = (modrm >> 3 & 7) | ((rex_ & 4) != 0 ? 8u : 0u);
    if (mod == 3) return false;
    uint64_t address = 0;
    bool relative = false;
    if (rm == 4) {
      const uint8_t sib = Next();
      const unsigned index = (sib >> 3 & 7) | ((rex_ & 2) != 0 ? 8u : 0u);
      const unsigned base = (sib & 7) | ((rex_ & 1) != 0 ? 8u : 0u);
      if (index != kSp) address += Value(index) << (sib >> 6);
      if ((base & 7) == kBp && mod == 0) {
        address += static_cast<uint64_t>(Signed(4));
      } else {
        address += Value(base);
      }
    } else if (rm == 5 && mod == 0) {
      address = static_cast<uint64_t>(Signed(4));
      relative = true;
    } else {
      address = Value(rm | ((rex_ & 1) != 0 ? 8u : 0u));
    }
    if (mod == 1) address += static_cast<uint64_t>(Signed(1) * displacement_unit_);
    if (mod == 2) address += static_cast<uint64_t>(Signed(4));
    if (relative) address += reinterpret_cast<uintptr_t>(at_ + after);
    address_ = address;
    return !bad_;
  }

  // A byte register: AH and its like where no REX prefix is.
  uint64_t ByteRegister(unsigned number) {
    return !rex_seen_ && number >= 4 && number < 8 ? Value(number - 4) >> 8 : Value(number);
  }
  void SetByteRegister(unsigned number, uint8_t value) {
    const bool high = !rex_seen_ && number >= 4 && number < 8;
    greg_t& reg = Reg(high ? number - 4 : number);
    const unsigned shift = high ? 8 : 0;
    reg = static_cast<greg_t>((static_cast<uint64_t>(reg) & ~(uint64_t{0xff} << shift)) | uint64_t{value} << shift);
  }

  void Emit(uint64_t address, const uint8_t* bytes, size_t count) {
    while (count != 0) {
      uint32_t part = 8;
      while (address % part != 0 || part > count) part /= 2;
      uint64_t value = 0;
      memcpy(&value, bytes, part);
      sink_->Store(address, value, part);
      address += part;
      bytes += part;
      count -= part;
    }
  }
  void Advance() { context_->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<uintptr_t>(at_)); }

  // The end of every instruction but the string ones.
  bool Done(const void* bytes, size_t count) {
    if (bad_ || !sink_->Takes(address_, count)) return false;
    Emit(address_, static_cast<const uint8_t*>(bytes), count);
    Advance();
    return true;
  }
  bool Done(uint64_t value, size_t count) { return Done(&value, count); }

  bool OneByte(uint8_t opcode) {
    const unsigned size = (opcode & 1) == 0 ? 1 : OperandSize();
    switch (opcode) {
      case 0x88:
      case 0x89:
        if (lock_ || !Memory(0)) return false;
        return Done(size == 1 ? ByteRegister(field_) : Value(field_), size);
      case 0xc6:
      case 0xc7: {
        const unsigned immediate = size == 8 ? 4 : size;
        if (lock_ || !Memory(immediate) || (field_ & 7) != 0) return false;
        return Done(static_cast<uint64_t>(Signed(immediate)), size);
      }
      case 0x86:
      case 0x87: {
        if (!Memory(0)) return false;
        uint64_t old = 0;
        if (!sink_->Takes(address_, size)) return false;
        memcpy(&old, reinterpret_cast<const void*>(address_), size);
        if (!Done(size == 1 ? ByteRegister(field_) : Value(field_), size)) return false;
        if (size == 1) {
          SetByteRegister(field_, static_cast<uint8_t>(old));
        } else if (size == 2) {
          Reg(field_) = static_cast<greg_t>((Value(field_) & ~uint64_t{0xffff}) | old);
        } else {
          Reg(field_) = static_cast<greg_t>(old);
        }
        return true;
      }
      case 0xa2:
      case 0xa3:
        if (lock_) return false;
        address_ = Immediate(8);
        return Done(Value(kAx), size);
      case 0xa4:
      case 0xa5:
      case 0xaa:
      case 0xab: return !lock_ && String(opcode >= 0xaa, size);
      default: return false;
    }
  }

  // movs and stos: as much as the sink takes; with rep the rest faults again.
  bool String(bool fill, unsigned size) {
    if ((context_->uc_mcontext.gregs[REG_EFL] & kDirectionFlag) != 0 || bad_) return false;
    address_ = Value(kDi);
    const uint64_t wanted = repeat_ != 0 ? Value(kCx) : 1;
    uint64_t count = sink_->Room(address_) / size;
    if (wanted < count) count = wanted;
    if (count == 0 || !sink_->Takes(address_, count * size)) return false;
    const uint64_t pattern = Value(kAx);
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t value = pattern;
      if (!fill) memcpy(&value, reinterpret_cast<const void*>(Value(kSi) + i * size), size);
      Emit(address_ + i * size, reinterpret_cast<const uint8_t*>(&value), size);
    }
    const auto step = static_cast<greg_t>(count * size);
    Reg(kDi) += step;
    if (!fill) Reg(kSi) += step;
    if (repeat_ != 0) Reg(kCx) -= static_cast<greg_t>(count);
    if (count == wanted) Advance();
    return true;
  }

  // Bytes that a vector store opcode of the 0F map stores; 0: none such. *high: the upper half of the register.
  unsigned VectorSize(uint8_t opcode, bool* high) const {
    switch (opcode) {
      case 0x11: return mandatory_ == kF3 ? 4 : mandatory_ == kF2 ? 8 : 16;
      case 0x13:
      case 0x17: *high = opcode == 0x17; return mandatory_ == kNoPrefix || mandatory_ == k66 ? 8 : 0;
      case 0x29:
      case 0x2b: return mandatory_ == kNoPrefix || mandatory_ == k66 ? 16 : 0;
      case 0x7e: return mandatory_ == k66 ? (W() ? 8 : 4) : 0;
      case 0x7f: return mandatory_ == k66 || mandatory_ == kF3 ? 16 : 0;
      case 0xd6: return mandatory_ == k66 ? 8 : 0;
      case 0xe7: return mandatory_ == k66 ? 16 : 0;
      default: return 0;
    }
  }

  bool TwoBytes(uint8_t opcode) {
    if (opcode == 0xc3 && mandatory_ == kNoPrefix) return Memory(0) && Done(Value(field_), W() ? 8 : 4);
    return Vector(opcode, false);
  }

  bool Vex(bool three) {
    const uint8_t first = Next();
    rex_ = (first & 0x80) == 0 ? 4 : 0;
    uint8_t last = first;
    if (three) {
      if ((first & 0x1f) != 1) return false;  // the 0F map
      rex_ = static_cast<uint8_t>(rex_ | ((first & 0x40) == 0 ? 2 : 0) | ((first & 0x20) == 0 ? 1 : 0));
      last = Next();
      rex_ = static_cast<uint8_t>(rex_ | ((last & 0x80) != 0 ? 8 : 0));
    }
    if ((last >> 3 & 0xf) != 0xf) return false;  // vvvv names no register in a store
    constexpr Prefix kPrefixes[4] = {kNoPrefix, k66, kF3, kF2};
    mandatory_ = kPrefixes[last & 3];
    return Vector(Next(), (last & 4) != 0);
  }

  bool Vector(uint8_t opcode, bool is_256) {
    bool high = false;
    unsigned size = VectorSize(opcode, &high);
    if (size == 0 || !Memory(0) || context_->uc_mcontext.fpregs == nullptr) return false;
    if (is_256 && size != 16) return false;
    uint8_t bytes[32];
    const auto* const saved = reinterpret_cast<const uint8_t*>(context_->uc_mcontext.fpregs);
    memcpy(bytes, saved + kXmm + field_ * 16, 16);
    if (is_256) {
      UpperHalf(saved, bytes + 16);
      size = 32;
    }
    return Done(bytes + (high ? 8 : 0), size);
  }

  // vmovups, vmovaps, vmovdqu8 ... vmovdqa64, vmovntdq, vmovntps of AVX-512.
  bool Evex() {
    const uint8_t p0 = Next(), p1 = Next(), p2 = Next();
    if ((p0 & 0xf) != 1 || (p1 & 0x7c) != 0x7c || (p2 & 0x18) != 0x08) return false;  // 0F map; no vvvv, no broadcast
    rex_ = static_cast<uint8_t>(((p1 & 0x80) != 0 ? 8 : 0) | ((p0 & 0x80) == 0 ? 4 : 0) | ((p0 & 0x40) == 0 ? 2 : 0) |
                                ((p0 & 0x20) == 0 ? 1 : 0));
    constexpr Prefix kPrefixes[4] = {kNoPrefix, k66, kF3, kF2};
    mandatory_ = kPrefixes[p1 & 3];
    const unsigned length = p2 >> 5 & 3, mask = p2 & 7;
    if (length == 3) return false;
    unsigned element = 0;  // bytes
    const uint8_t opcode = Next();
    switch (opcode) {
      case 0x11:
      case 0x29:
      case 0x2b: element = mandatory_ == kNoPrefix ? 4 : mandatory_ == k66 ? 8 : 0; break;
      case 0x7f: element = mandatory_ == kF2 ? (W() ? 2 : 1) : mandatory_ == kNoPrefix ? 0 : W() ? 8 : 4; break;
      case 0xe7: element = mandatory_ == k66 ? 4 : 0; break;
      default: break;
    }
    if (element == 0) return false;
    const unsigned size = 16u << length;
    displacement_unit_ = size;
    if (!Memory(0) || context_->uc_mcontext.fpregs == nullptr) return false;
    field_ |= (p0 & 0x10) == 0 ? 16u : 0u;
    const auto* const saved = reinterpret_cast<const uint8_t*>(context_->uc_mcontext.fpregs);
    uint8_t bytes[64];
    if (field_ < 16) {
      memcpy(bytes, saved + kXmm + field_ * 16, 16);
      Component(saved, 2, field_ * 16, bytes + 16, 16);
      Component(saved, 6, field_ * 32, bytes + 32, 32);
    } else {
      Component(saved, 7, (field_ - 16) * 64, bytes, 64);
    }
    if (mask == 0) return Done(bytes, size);
    uint64_t kept = 0;
    Component(saved, 5, mask * 8, reinterpret_cast<uint8_t*>(&kept), 8);
    const unsigned count = size / element;
    if (bad_) return false;
    unsigned first = count, last = 0;  // only what is stored must be there
    for (unsigned n = 0; n < count; ++n) {
      if ((kept >> n & 1) == 0) continue;
      if (first == count) first = n;
      last = n + 1;
    }
    if (first < last && !sink_->Takes(address_ + first * element, (last - first) * element)) return false;
    for (unsigned n = first; n < last; ++n) {
      if ((kept >> n & 1) != 0) Emit(address_ + n * element, bytes + n * element, element);
    }
    Advance();
    return true;
  }

  void UpperHalf(const uint8_t* saved, uint8_t* out) const { Component(saved, 2, field_ * 16, out, 16); }

  // Bytes of a component of the extended state that follows the legacy area, in the standard format (struct _xstate of
  // asm/sigcontext.h; where a component lies is the processor's to say). Not saved: zero.
  static void Component(const uint8_t* saved, unsigned number, size_t offset, uint8_t* out, size_t count) {
    memset(out, 0, count);
    uint32_t magic = 0;
    uint64_t components = 0;
    memcpy(&magic, saved + kSoftwareReserved, sizeof(magic));
    memcpy(&components, saved + kLegacySize, sizeof(components));
    if (magic != kXstateMagic || (components >> number & 1) == 0) return;
    unsigned size = 0, at = 0, c = 0, d = 0;
    __cpuid_count(0xd, number, size, at, c, d);
    if (offset + count <= size) memcpy(out, saved + at + offset, count);
  }

  static constexpr size_t kXmm = 160, kSoftwareReserved = 464, kLegacySize = 512;
  static constexpr uint32_t kXstateMagic = 0x46505853;  // FP_XSTATE_MAGIC1

  ucontext_t* const context_;
  StoreSink* const sink_;
  const uint8_t* const start_;
  const uint8_t* at_;
  bool size16_ = false, lock_ = false, rex_seen_ = false, bad_ = false;
  uint8_t repeat_ = 0, rex_ = 0;
  Prefix mandatory_ = kNoPrefix;
  unsigned field_ = 0;  // ModRM.reg
  uint64_t address_ = 0;
  int64_t displacement_unit_ = 1;  // of a displacement of 8 bits
};

}  // namespace

bool EmulateStore(ucontext_t* context, StoreSink* sink) { return Instruction(context, sink).Run(); }

}  // namespace causeway::shim
