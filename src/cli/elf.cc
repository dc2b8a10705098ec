// SPDX-License-Identifier: Apache-2.0
#include "cli/elf.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <span>

#include "base/checked.h"

namespace causeway::cli {
namespace {

constexpr size_t kMaxProgramHeaders = 256;
constexpr uint64_t kMaxInterpreter = 4096;  // PATH_MAX, as load_elf_binary() allows
constexpr uint64_t kMaxDynamic = 1 << 20;
constexpr uint64_t kMaxStrings = 64 << 20;

// Exactly `len` bytes from `offset`.
Status ReadExactly(int fd, void* out, uint64_t len, uint64_t offset) {
  auto* at = static_cast<char*>(out);
  while (len > 0) {
    const ssize_t got = ::pread(fd, at, len, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return HostErr();
    if (got == 0) return Err(ENOEXEC);
    at += got;
    offset += static_cast<uint64_t>(got);
    len -= static_cast<uint64_t>(got);
  }
  return {};
}

struct Elf32 {
  using Ehdr = Elf32_Ehdr;
  using Phdr = Elf32_Phdr;
  using Dyn = Elf32_Dyn;
};
struct Elf64 {
  using Ehdr = Elf64_Ehdr;
  using Phdr = Elf64_Phdr;
  using Dyn = Elf64_Dyn;
};

// Where in the file the byte at this virtual address is.
template <typename Phdr>
std::optional<uint64_t> FileOffset(std::span<const Phdr> headers, uint64_t address) {
  for (const Phdr& header : headers) {
    if (header.p_type == PT_LOAD && address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz) {
      return header.p_offset + (address - header.p_vaddr);
    }
  }
  return std::nullopt;
}

// A string of the dynamic string table; "" when it runs out of the table.
std::string StringAt(std::string_view table, uint64_t offset) {
  if (offset >= table.size()) return {};
  const std::string_view rest = table.substr(offset);
  return std::string(rest.substr(0, rest.find('\0')));
}

template <typename Elf>
Status ReadDynamic(int fd, std::span<const typename Elf::Phdr> headers, const typename Elf::Phdr& dynamic,
                   ElfFacts& facts) {
  if (dynamic.p_filesz > kMaxDynamic) return Err(ENOEXEC);
  std::vector<typename Elf::Dyn> entries(dynamic.p_filesz / sizeof(typename Elf::Dyn));
  CW_CHECK(ReadExactly(fd, entries.data(), entries.size() * sizeof(typename Elf::Dyn), dynamic.p_offset));
  entries.erase(std::ranges::find(entries, DT_NULL, [](const auto& entry) { return entry.d_tag; }), entries.end());
  uint64_t strings_address = 0, strings_size = 0;
  for (const auto& entry : entries) {
    if (entry.d_tag == DT_STRTAB) strings_address = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRSZ) strings_size = entry.d_un.d_val;
  }
  if (strings_size == 0) return {};
  const auto offset = FileOffset(headers, strings_address);
  if (!offset || strings_size > kMaxStrings) return Err(ENOEXEC);
  std::string strings(strings_size, '\0');
  CW_CHECK(ReadExactly(fd, strings.data(), strings.size(), *offset));
  for (const auto& entry : entries) {
    if (entry.d_tag == DT_NEEDED) facts.needed.push_back(StringAt(strings, entry.d_un.d_val));
    if (entry.d_tag == DT_SONAME) facts.soname = StringAt(strings, entry.d_un.d_val);
  }
  return {};
}

template <typename Elf>
Status ReadClass(int fd, ElfFacts& facts) {
  typename Elf::Ehdr header;
  CW_CHECK(ReadExactly(fd, &header, sizeof(header), 0));
  facts.machine = header.e_machine;
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) return Err(ENOEXEC);
  if (header.e_phentsize != sizeof(typename Elf::Phdr) || header.e_phnum == 0 || header.e_phnum > kMaxProgramHeaders) {
    return Err(ENOEXEC);
  }
  std::vector<typename Elf::Phdr> headers(header.e_phnum);
  CW_CHECK(ReadExactly(fd, headers.data(), headers.size() * sizeof(headers[0]), header.e_phoff));
  for (const auto& segment : headers) {
    if (segment.p_type == PT_INTERP) {
      if (segment.p_filesz < 2 || segment.p_filesz > kMaxInterpreter) return Err(ENOEXEC);
      std::string path(segment.p_filesz, '\0');
      CW_CHECK(ReadExactly(fd, path.data(), path.size(), segment.p_offset));
      facts.interpreter = path.c_str();
    } else if (segment.p_type == PT_DYNAMIC) {
      CW_CHECK(ReadDynamic<Elf>(fd, headers, segment, facts));
    }
  }
  return {};
}

}  // namespace

Result<ElfFacts> ReadElf(int fd) {
  unsigned char ident[EI_NIDENT];
  CW_CHECK(ReadExactly(fd, ident, sizeof(ident), 0));
  if (std::memcmp(ident, ELFMAG, SELFMAG) != 0) return Err(ENOEXEC);
  ElfFacts facts;
  constexpr unsigned char kNativeOrder = std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
  if (ident[EI_DATA] != kNativeOrder) return facts;  // another machine's: machine 0 says so
  facts.is_64bit = ident[EI_CLASS] == ELFCLASS64;
  if (facts.is_64bit) {
    CW_CHECK(ReadClass<Elf64>(fd, facts));
  } else {
    CW_CHECK(ReadClass<Elf32>(fd, facts));
  }
  return facts;
}

uint16_t NativeElfMachine() {
#if defined(__x86_64__)
  return EM_X86_64;
#elif defined(__aarch64__)
  return EM_AARCH64;
#else
#error "which e_machine is this?"
#endif
}

}  // namespace causeway::cli
