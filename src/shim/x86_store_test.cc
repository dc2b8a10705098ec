// SPDX-License-Identifier: Apache-2.0
// Store instructions on a page that is read-only, carried out by EmulateStore(): each must leave memory and registers
// as the processor itself does on a page that can be written (SDM volume 2).
#include "shim/x86_store.h"

#include <gtest/gtest.h>
#include <immintrin.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace causeway::shim {
namespace {

constexpr size_t kBytes = 4096;

struct Area {
  std::byte* trapped = nullptr;  // read-only
  std::byte* behind = nullptr;   // the same bytes
  size_t taken = kBytes;         // the sink's: from `trapped`
  int faults = 0, refused = 0;
  std::vector<std::pair<size_t, uint32_t>> stores;  // offset, bytes
};
Area area;

class Behind final : public StoreSink {
 public:
  bool Takes(uintptr_t address, size_t bytes) override { return Room(address) >= bytes; }
  size_t Room(uintptr_t address) override {
    const uintptr_t start = reinterpret_cast<uintptr_t>(area.trapped);
    return address >= start && address < start + area.taken ? start + area.taken - address : 0;
  }
  void Store(uintptr_t address, uint64_t value, uint32_t bytes) override {
    const size_t offset = address - reinterpret_cast<uintptr_t>(area.trapped);
    EXPECT_EQ(offset % bytes, 0u);
    std::memcpy(area.behind + offset, &value, bytes);
    area.stores.emplace_back(offset, bytes);
  }
};

void OnFault(int, siginfo_t*, void* context) {
  Behind sink;
  ++area.faults;
  if (EmulateStore(static_cast<ucontext_t*>(context), &sink)) return;
  ++area.refused;
  (void)::mprotect(area.trapped, kBytes, PROT_READ | PROT_WRITE);  // the processor does it
}

class X86Store : public ::testing::Test {
 protected:
  X86Store() {
    const int fd = ::memfd_create("area", MFD_CLOEXEC);
    EXPECT_EQ(::ftruncate(fd, kBytes), 0);
    area = {};
    area.trapped = static_cast<std::byte*>(::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, fd, 0));
    area.behind = static_cast<std::byte*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    ::close(fd);
    struct sigaction action = {};
    action.sa_sigaction = OnFault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    EXPECT_EQ(::sigaction(SIGSEGV, &action, &before_), 0);
  }
  ~X86Store() override {
    (void)::sigaction(SIGSEGV, &before_, nullptr);
    (void)::munmap(area.trapped, kBytes);
    (void)::munmap(area.behind, kBytes);
  }

  // Runs `code` on the trapped page and on plain memory of the same content: the bytes must come out equal.
  void Same(const char* what, const std::function<void(std::byte*)>& code) {
    SCOPED_TRACE(what);
    alignas(4096) std::array<std::byte, kBytes> plain;
    for (size_t i = 0; i < kBytes; ++i) area.behind[i] = static_cast<std::byte>(i * 7);
    std::memcpy(plain.data(), area.behind, kBytes);
    area.faults = area.refused = 0;
    area.stores.clear();
    code(plain.data());
    code(area.trapped);
    EXPECT_EQ(std::memcmp(plain.data(), area.behind, kBytes), 0);
    EXPECT_GE(area.faults, 1);
    EXPECT_EQ(area.refused, 0);
    (void)::mprotect(area.trapped, kBytes, PROT_READ);
  }

  struct sigaction before_ = {};
};

TEST_F(X86Store, MovFromRegisters) {
  const uint64_t value = 0x1122334455667788;
  Same("mov r64", [&](std::byte* to) { __asm__ volatile("mov %1, 8(%0)" ::"r"(to), "r"(value) : "memory"); });
  Same("mov r32", [&](std::byte* to) {
    __asm__ volatile("mov %1, 256(%0)" ::"r"(to), "r"(static_cast<uint32_t>(value)) : "memory");
  });
  Same("mov r16", [&](std::byte* to) { __asm__ volatile("movw %w1, 2(%0)" ::"r"(to), "r"(value) : "memory"); });
  Same("mov r8", [&](std::byte* to) { __asm__ volatile("movb %b1, 3(%0)" ::"r"(to), "r"(value) : "memory"); });
  Same("mov ah", [&](std::byte* to) { __asm__ volatile("mov %%ah, 5(%%rdi)" ::"D"(to), "a"(0xbeef) : "memory"); });
  Same("mov sil", [&](std::byte* to) { __asm__ volatile("mov %%sil, 5(%%rdi)" ::"D"(to), "S"(value) : "memory"); });
  Same("mov r64, unaligned", [&](std::byte* to) {
    __asm__ volatile("mov %1, 13(%0)" ::"r"(to), "r"(value) : "memory");
  });
}

TEST_F(X86Store, AddressForms) {
  const uint32_t value = 0xcafe0001;
  Same("base, index and scale", [&](std::byte* to) {
    __asm__ volatile("movl %2, 16(%0,%1,8)" ::"r"(to), "r"(uint64_t{5}), "r"(value) : "memory");
  });
  Same("index alone", [&](std::byte* to) { __asm__ volatile("movl %1, 0(,%0,1)" ::"r"(to), "r"(value) : "memory"); });
  Same("r12 and r13", [&](std::byte* to) {
    __asm__ volatile(
        "mov %0, %%r12\n mov $64, %%r13\n movl %1, (%%r12,%%r13,4)\n mov %0, %%r13\n movl %1, (%%r13)\n movl %1, "
        "(%%r12)" ::"r"(to),
        "r"(value)
        : "memory", "r12", "r13");
  });
  Same("disp32 below", [&](std::byte* to) {
    __asm__ volatile("movl %1, -4096(%0)" ::"r"(to + kBytes), "r"(value) : "memory");
  });
}

TEST_F(X86Store, MovOfImmediates) {
  Same("movl $", [](std::byte* to) { __asm__ volatile("movl $0x80000001, 4(%0)" ::"r"(to) : "memory"); });
  Same("movq $ sign extended", [](std::byte* to) { __asm__ volatile("movq $-2, 8(%0)" ::"r"(to) : "memory"); });
  Same("movw $", [](std::byte* to) { __asm__ volatile("movw $0x1234, 6(%0)" ::"r"(to) : "memory"); });
  Same("movb $", [](std::byte* to) { __asm__ volatile("movb $0x7f, 1(%0)" ::"r"(to) : "memory"); });
}

TEST_F(X86Store, NontemporalAndExchange) {
  Same("movnti", [](std::byte* to) { __asm__ volatile("movnti %1, 32(%0)" ::"r"(to), "r"(0x55aa) : "memory"); });
  Same("movntiq", [](std::byte* to) {
    __asm__ volatile("movnti %1, 32(%0)" ::"r"(to), "r"(uint64_t{0x55aa}) : "memory");
  });
  // An atomic store of sequential consistency; the old value goes to the register.
  Same("xchg", [](std::byte* to) {
    uint32_t value = 0x01020304, old = 0;
    std::memcpy(&old, to + 16, sizeof(old));
    __asm__ volatile("xchg %0, 16(%1)" : "+r"(value) : "r"(to) : "memory");
    EXPECT_EQ(value, old);
  });
  Same("std::atomic", [](std::byte* to) { reinterpret_cast<std::atomic<uint32_t>*>(to + 20)->store(77); });
}

TEST_F(X86Store, Strings) {
  Same("rep stosb", [](std::byte* to) {
    uint64_t count = 37;
    void* at = to + 3;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(count) : "a"(0x5a) : "memory");
    EXPECT_EQ(count, 0u);
    EXPECT_EQ(at, to + 40);
  });
  Same("rep movsq", [](std::byte* to) {
    const std::array<uint64_t, 5> from = {1, 2, 3, 4, 5};
    const void* source = from.data();
    void* at = to + 64;
    uint64_t count = from.size();
    __asm__ volatile("rep movsq" : "+D"(at), "+S"(source), "+c"(count)::"memory");
    EXPECT_EQ(source, from.data() + from.size());
  });
  Same("stosl", [](std::byte* to) {
    void* at = to + 8;
    __asm__ volatile("stosl" : "+D"(at) : "a"(0x12345678) : "memory");
    EXPECT_EQ(at, to + 12);
  });
}

TEST_F(X86Store, Vectors) {
  const __m128i value = _mm_set_epi64x(0x0102030405060708, 0x1112131415161718);
  Same("movups", [&](std::byte* to) { __asm__ volatile("movups %1, 16(%0)" ::"r"(to), "x"(value) : "memory"); });
  Same("movaps", [&](std::byte* to) { __asm__ volatile("movaps %1, 16(%0)" ::"r"(to), "x"(value) : "memory"); });
  Same("movdqu, unaligned", [&](std::byte* to) {
    __asm__ volatile("movdqu %1, 5(%0)" ::"r"(to), "x"(value) : "memory");
  });
  Same("movdqa, high register", [&](std::byte* to) {
    __asm__ volatile("movdqa %1, %%xmm12\n movdqa %%xmm12, 32(%0)" ::"r"(to), "x"(value) : "memory", "xmm12");
  });
  Same("movntdq", [&](std::byte* to) { __asm__ volatile("movntdq %1, 48(%0)" ::"r"(to), "x"(value) : "memory"); });
  Same("movntps", [&](std::byte* to) { __asm__ volatile("movntps %1, 48(%0)" ::"r"(to), "x"(value) : "memory"); });
  Same("movq", [&](std::byte* to) { __asm__ volatile("movq %1, 8(%0)" ::"r"(to), "x"(value) : "memory"); });
  Same("movd", [&](std::byte* to) { __asm__ volatile("movd %1, 8(%0)" ::"r"(to), "x"(value) : "memory"); });
  Same("movss", [&](std::byte* to) { __asm__ volatile("movss %1, 8(%0)" ::"r"(to), "x"(value) : "memory"); });
  Same("movsd", [&](std::byte* to) { __asm__ volatile("movsd %1, 8(%0)" ::"r"(to), "x"(value) : "memory"); });
  Same("movhps", [&](std::byte* to) { __asm__ volatile("movhps %1, 8(%0)" ::"r"(to), "x"(value) : "memory"); });
  Same("movlpd", [&](std::byte* to) { __asm__ volatile("movlpd %1, 8(%0)" ::"r"(to), "x"(value) : "memory"); });
}

__attribute__((target("avx"))) void StoreYmm(std::byte* to) {
  const __m256i value = _mm256_set_epi64x(4, 3, 2, 0x100000001);
  __asm__ volatile("vmovdqu %1, 33(%0)\n vmovaps %1, 128(%0)\n vzeroupper" ::"r"(to), "x"(value) : "memory");
}
__attribute__((target("avx"))) void StoreYmmHigh(std::byte* to) {
  const __m256i value = _mm256_set_epi64x(8, 7, 6, 5);
  __asm__ volatile(
      "vmovdqa %1, %%ymm9\n mov %0, %%r11\n vmovdqu %%ymm9, 64(%%r11)\n vmovdqu %%xmm9, 8(%0)\n vzeroupper" ::"r"(to),
      "x"(value)
      : "memory", "xmm9", "r11");
}

TEST_F(X86Store, WideVectors) {
  if (!__builtin_cpu_supports("avx")) GTEST_SKIP() << "this processor has no AVX";
  Same("vmovdqu, vmovaps", StoreYmm);
  Same("two and three byte VEX", StoreYmmHigh);
}

__attribute__((target("avx512f,avx512vl,avx512bw"))) void StoreZmm(std::byte* to) {
  const __m512i value = _mm512_set_epi64(8, 7, 6, 5, 4, 3, 2, 0x100000001);
  __asm__ volatile(
      "vmovdqu64 %1, 64(%0)\n vmovdqa64 %1, %%zmm20\n vmovdqu8 %%zmm20, 130(%0)\n vmovups %%ymm20, 256(%0)\n"
      " vmovdqu32 %%xmm20, -16(%2)\n vmovntdq %%zmm20, 512(%0)" ::"r"(to),
      "v"(value), "r"(to + 1024)
      : "memory", "xmm20");
}
__attribute__((target("avx512f,avx512vl,avx512bw"))) void StoreMasked(std::byte* to) {
  const __m512i value = _mm512_set1_epi8(0x5a);
  __asm__ volatile(
      "kmovq %2, %%k3\n vmovdqu8 %1, 64(%0)%{%%k3%}\n vmovdqu32 %1, 192(%0)%{%%k3%}\n"
      " kxorq %%k3, %%k3, %%k3\n vmovdqu8 %1, 256(%0)%{%%k3%}\n movb $1, (%0)" ::"r"(to),
      "v"(value), "r"(uint64_t{0x80000000000f00f1})
      : "memory", "k3");
}

TEST_F(X86Store, Avx512) {
  if (!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512bw")) {
    GTEST_SKIP() << "this processor has no AVX-512";
  }
  Same("whole registers, compressed displacements", StoreZmm);
  Same("masked", StoreMasked);
}

// What it does not carry out is left to the processor, and so is a store that leaves the registers.
TEST_F(X86Store, OthersAreLeftAlone) {
  const auto refuses = [&](const char* what, const std::function<void(std::byte*)>& code) {
    SCOPED_TRACE(what);
    area.refused = 0;
    area.stores.clear();
    code(area.trapped);
    EXPECT_EQ(area.refused, 1);
    EXPECT_TRUE(area.stores.empty());
    (void)::mprotect(area.trapped, kBytes, PROT_READ);
  };
  refuses("add", [](std::byte* to) { __asm__ volatile("addl $1, (%0)" ::"r"(to) : "memory", "cc"); });
  refuses("lock cmpxchg", [](std::byte* to) {
    uint32_t expected = 1;
    __asm__ volatile("lock cmpxchg %2, (%1)" : "+a"(expected) : "r"(to), "r"(2) : "memory", "cc");
  });
  area.taken = 8;
  refuses("over the end", [](std::byte* to) { __asm__ volatile("movq $1, 4(%0)" ::"r"(to) : "memory"); });
}

}  // namespace
}  // namespace causeway::shim
