// SPDX-License-Identifier: Apache-2.0
#include "shim/symbols.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <atomic>

#include "shim/calls.h"
#include "shim/dmabuf_mr.h"

// Read by the stubs after the answer functions have set them.
extern "C" {
__attribute__((visibility("hidden"))) std::atomic<void*> cw_next_dlsym{nullptr};
__attribute__((visibility("hidden"))) std::atomic<void*> cw_next_dlvsym{nullptr};
}

namespace causeway::shim {
namespace {

// ---- symbol tables of loaded objects, without dlsym

struct Object {
  uintptr_t base = 0;
  const ElfW(Sym) * symbols = nullptr;
  const char* strings = nullptr;
  const uint32_t* gnu_hash = nullptr;
  const uint16_t* versions = nullptr;
};

// glibc relocates the addresses in place; the vdso's stay as they are in the file.
uintptr_t Relocated(const Object& object, uintptr_t address) {
  return address < object.base ? object.base + address : address;
}

Object ReadDynamic(uintptr_t base, const ElfW(Dyn) * entry) {
  Object object;
  object.base = base;
  for (; entry != nullptr && entry->d_tag != DT_NULL; ++entry) {
    const uintptr_t address = Relocated(object, entry->d_un.d_ptr);
    switch (entry->d_tag) {
      case DT_SYMTAB: object.symbols = reinterpret_cast<const ElfW(Sym)*>(address); break;
      case DT_STRTAB: object.strings = reinterpret_cast<const char*>(address); break;
      case DT_GNU_HASH: object.gnu_hash = reinterpret_cast<const uint32_t*>(address); break;
      case DT_VERSYM: object.versions = reinterpret_cast<const uint16_t*>(address); break;
      default: break;
    }
  }
  return object;
}

// Not libc's: a sanitizer's strcmp() is among the functions it is looking up when it comes here first.
bool Equal(const char* a, const char* b) {
  while (*a != 0 && *a == *b) ++a, ++b;
  return *a == *b;
}
bool StartsWith(const char* text, const char* prefix) {
  while (*prefix != 0 && *text == *prefix) ++text, ++prefix;
  return *prefix == 0;
}

// The default version of a function that the object defines. Objects without DT_GNU_HASH have been rare since 2006 and
// are passed over.
void* Lookup(const Object& object, const char* name) {
  if (object.symbols == nullptr || object.strings == nullptr || object.gnu_hash == nullptr) return nullptr;
  uint32_t hash = 5381;
  for (const char* c = name; *c != 0; ++c) hash = hash * 33 + static_cast<unsigned char>(*c);
  const uint32_t buckets = object.gnu_hash[0], first = object.gnu_hash[1], bloom = object.gnu_hash[2];
  if (buckets == 0) return nullptr;
  const uint32_t* const bucket = object.gnu_hash + 4 + bloom * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
  const uint32_t* const chain = bucket + buckets;
  uint32_t index = bucket[hash % buckets];
  if (index < first) return nullptr;
  for (;; ++index) {
    const uint32_t entry = chain[index - first];
    const ElfW(Sym)& symbol = object.symbols[index];
    const bool hidden = object.versions != nullptr && (object.versions[index] & 0x8000) != 0;
    if ((entry | 1) == (hash | 1) && !hidden && symbol.st_shndx != SHN_UNDEF &&
        Equal(object.strings + symbol.st_name, name)) {
      return reinterpret_cast<void*>(object.base + symbol.st_value);
    }
    if ((entry & 1) != 0) return nullptr;
  }
}

bool IsLibibverbs(const char* path) {
  if (path == nullptr) return false;
  const char* name = path;
  for (const char* c = path; *c != 0; ++c) {
    if (*c == '/') name = c + 1;
  }
  return StartsWith(name, "libibverbs.so");
}

// ---- the next dlsym and dlvsym

// The link map's order is that of the global scope up to libc. What stands in it before libc stays there, so reading it
// needs no lock, and no function that somebody interposes. Two threads that come at once find the same.
void FindNext() {
  if (cw_next_dlvsym.load(std::memory_order_acquire) != nullptr) return;
  const link_map* object = _r_debug.r_map;
  while (object != nullptr && object->l_ld != _DYNAMIC) object = object->l_next;
  void *next_dlsym = nullptr, *next_dlvsym = nullptr;
  while (object != nullptr && (next_dlsym == nullptr || next_dlvsym == nullptr)) {
    object = object->l_next;
    if (object == nullptr) break;
    const Object symbols = ReadDynamic(object->l_addr, object->l_ld);
    if (next_dlsym == nullptr) next_dlsym = Lookup(symbols, "dlsym");
    if (next_dlvsym == nullptr) next_dlvsym = Lookup(symbols, "dlvsym");
  }
  if (next_dlsym == nullptr || next_dlvsym == nullptr) __builtin_trap();  // no libc: this cannot be
  cw_next_dlsym.store(next_dlsym, std::memory_order_release);
  cw_next_dlvsym.store(next_dlvsym, std::memory_order_release);
}

void* RealDlvsym(void* handle, const char* name, const char* version) {
  FindNext();
  using Function = void* (*)(void*, const char*, const char*);
  return reinterpret_cast<Function>(cw_next_dlvsym.load(std::memory_order_relaxed))(handle, name, version);
}

// ---- what is ours

struct LibibverbsSearch {
  const char* name;
  void* symbol = nullptr;
};

int SearchLibibverbs(dl_phdr_info* info, size_t, void* data) {
  auto* const search = static_cast<LibibverbsSearch*>(data);
  if (!IsLibibverbs(info->dlpi_name)) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_DYNAMIC) continue;
    const auto* const dynamic = reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + header.p_vaddr);
    search->symbol = Lookup(ReadDynamic(info->dlpi_addr, dynamic), search->name);
  }
  return search->symbol != nullptr ? 1 : 0;
}

enum class Owner { kLibibverbs, kShim, kOther };

Owner OwnerOf(void* symbol) {
  Dl_info found, shim;
  if (dladdr(symbol, &found) == 0 || dladdr(&cw_next_dlsym, &shim) == 0) return Owner::kOther;
  if (found.dli_fbase == shim.dli_fbase) return Owner::kShim;
  return IsLibibverbs(found.dli_fname) ? Owner::kLibibverbs : Owner::kOther;
}

void* Ours(const char* name) {
  if (name == nullptr || !StartsWith(name, "ibv_reg_")) return nullptr;
  if (Equal(name, "ibv_reg_dmabuf_mr")) return reinterpret_cast<void*>(&RegDmabufMr);
  if (Equal(name, "ibv_reg_mr_ex")) return reinterpret_cast<void*>(&RegMrEx);
  return nullptr;
}

// Ends a look-up of `found`, which is what it gives without us. Ours stands in for libibverbs' definition, and only for
// that: another library's function of the same name is its own affair, and where libibverbs has no such function there
// is none, though this library exports the name.
Answer Settle(const char* name, void* ours, void* found) {
  if (found == nullptr) return {nullptr, 1};
  switch (OwnerOf(found)) {
    case Owner::kLibibverbs: return {ours, 1};
    case Owner::kOther: return {found, 1};
    case Owner::kShim: break;
  }
  if (FindInLibibverbs(name) != nullptr) return {found, 1};
  return {RealDlsym(RTLD_NEXT, name), 1};  // nullptr, and dlerror() says so
}

}  // namespace

void* RealDlsym(void* handle, const char* name) {
  FindNext();
  using Function = void* (*)(void*, const char*);
  return reinterpret_cast<Function>(cw_next_dlsym.load(std::memory_order_relaxed))(handle, name);
}

void* FindInLibibverbs(const char* name) {
  void* const next = RealDlsym(RTLD_NEXT, name);
  if (next != nullptr) return next;
  LibibverbsSearch search = {name};
  (void)dl_iterate_phdr(SearchLibibverbs, &search);
  return search.symbol;
}

extern "C" Answer cw_answer_dlsym(void* handle, const char* name) {
  FindNext();
  void* const ours = Ours(name);
  if (ours == nullptr) return {nullptr, 0};
  if (handle != RTLD_DEFAULT && handle != RTLD_NEXT) return Settle(name, ours, RealDlsym(handle, name));
  // This library stands in the global scope before any libibverbs: the caller's look-up finds it by itself.
  if (FindInLibibverbs(name) != nullptr) return {nullptr, 0};
  return {RealDlsym(RTLD_NEXT, name), 1};
}

extern "C" Answer cw_answer_dlvsym(void* handle, const char* name, const char* version) {
  FindNext();
  void* const ours = Ours(name);
  // dlvsym() passes over definitions without a version, as this library's are. RTLD_NEXT is for libraries between the
  // program and libibverbs, which want the one behind.
  if (ours == nullptr || handle == RTLD_NEXT) return {nullptr, 0};
  void* const found = RealDlvsym(handle, name, version);
  if (found == nullptr && handle == RTLD_DEFAULT) return {nullptr, 0};  // the caller's local scope may have it
  return Settle(name, ours, found);
}

}  // namespace causeway::shim
