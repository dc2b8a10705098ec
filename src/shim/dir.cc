// SPDX-License-Identifier: Apache-2.0
// Listing folders. A DIR that the program holds is always libc's own; the streams in which virtual entries show are in
// a list here, with the second stream of a folder that exists in the tree and really: entries of the tree come first,
// real ones that the tree has too are left out. Streams of other folders cost one load (no list, no look).
// Entries of the tree come in the order of their names, numbers by value: programs take devices in the order in which
// readdir() gives them (libibverbs), and the file system under the tree has an order of its own.
//
// Positions of listed streams are counts of entries: telldir() and seekdir() mean the n-th.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim/calls.h"
#include "shim/machine.h"
#include "shim/path.h"

namespace causeway::shim {
namespace {

struct Listing {
  Listing* next;
  DIR* key;  // what the program holds: `tree` or `beside`
  DIR* tree;
  DIR* beside;  // the real folder; nullptr when there is none
  bool in_beside;
  long position;
  struct dirent* entries;  // of the tree, sorted; read when the first is asked for
  size_t entry_count, next_entry;
  bool is_read;  // false after rewinddir(), but what readdir() gave before is there until it is called again
};

Lock listings_lock;
Listing* listings = nullptr;  // listings_lock
std::atomic<int> listing_count{0};

Listing* Find(DIR* stream) {
  if (listing_count.load(std::memory_order_acquire) == 0) return nullptr;
  const LockGuard lock(listings_lock);
  for (Listing* at = listings; at != nullptr; at = at->next) {
    if (at->key == stream) return at;
  }
  return nullptr;
}

// Takes over both streams. Returns `key`, or nullptr (both closed) without memory.
DIR* Enlist(DIR* key, DIR* tree, DIR* beside) {
  auto* made = static_cast<Listing*>(malloc(sizeof(Listing)));
  if (made == nullptr) {
    (void)real.closedir(tree);
    if (beside != nullptr) (void)real.closedir(beside);
    errno = ENOMEM;
    return nullptr;
  }
  (void)SetFd(dirfd(key), kFdOverlay, 0);
  const LockGuard lock(listings_lock);
  *made = {listings, key, tree, beside, false, 0, nullptr, 0, 0, false};
  listings = made;
  listing_count.fetch_add(1, std::memory_order_release);
  return key;
}

bool IsDots(const char* name) { return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')); }

bool TreeHas(int tree_fd, const char* name) {
  struct stat status;
  return real.fstatat(tree_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

uint64_t TreeDevice() {
  const ipc::ArenaHeader* header = MachineIfConnected();
  return header != nullptr ? header->tree_device : 0;
}

void FixType(uint64_t inode, unsigned char* type) {
  if (*type != DT_REG && *type != DT_UNKNOWN) return;
  if (const ipc::NodeEntry* node = FindNode(TreeDevice(), inode); node != nullptr) {
    *type = static_cast<unsigned char>(IFTODT(node->mode));
  }
}

int ByName(const void* a, const void* b) {
  return strverscmp(static_cast<const struct dirent*>(a)->d_name, static_cast<const struct dirent*>(b)->d_name);
}

// The tree's entries, sorted. False (errno is set) when they cannot be read.
bool ReadTree(Listing& listing) {
  size_t room = 0;
  listing.entry_count = listing.next_entry = 0;
  for (;;) {
    errno = 0;
    const struct dirent* entry = real.readdir(listing.tree);
    if (entry == nullptr) break;
    if (listing.entry_count == room) {
      room = room == 0 ? 32 : room * 2;
      // Not realloc(), as in ScandirAt().
      auto* grown = static_cast<struct dirent*>(malloc(room * sizeof(*listing.entries)));
      if (grown == nullptr) return false;
      if (listing.entry_count > 0) {
        memcpy(static_cast<void*>(grown), listing.entries, listing.entry_count * sizeof(*grown));
      }
      free(listing.entries);
      listing.entries = grown;
    }
    struct dirent& copy = listing.entries[listing.entry_count++];
    memcpy(&copy, entry, entry->d_reclen < sizeof(copy) ? entry->d_reclen : sizeof(copy));
    FixType(copy.d_ino, &copy.d_type);
  }
  if (errno != 0) return false;
  if (listing.entry_count > 1) qsort(listing.entries, listing.entry_count, sizeof(*listing.entries), ByName);
  listing.is_read = true;
  return true;
}

struct dirent* NextOf(Listing& listing) {
  const ErrnoKeeper keeper;
  if (!listing.in_beside) {
    errno = 0;
    if (!listing.is_read && !ReadTree(listing)) return nullptr;
    if (listing.next_entry < listing.entry_count) {
      struct dirent* entry = &listing.entries[listing.next_entry++];
      ++listing.position;
      keeper.Restore();
      return entry;
    }
    keeper.Restore();
    if (listing.beside == nullptr) return nullptr;
    listing.in_beside = true;
  }
  const int tree_fd = dirfd(listing.tree);
  for (;;) {
    errno = 0;
    struct dirent* entry = real.readdir(listing.beside);
    if (entry == nullptr) {
      if (errno == 0) keeper.Restore();
      return nullptr;
    }
    if (IsDots(entry->d_name) || TreeHas(tree_fd, entry->d_name)) continue;
    ++listing.position;
    keeper.Restore();
    return entry;
  }
}

void Rewind(Listing& listing) {
  listing.is_read = false;
  real.rewinddir(listing.tree);
  if (listing.beside != nullptr) real.rewinddir(listing.beside);
  listing.in_beside = false;
  listing.position = 0;
}

}  // namespace

DIR* Opendir(const char* path) {
  ResolvedPath at;
  if (!ResolvePath(AT_FDCWD, path, &at) || at.kind == ResolvedPath::kFdLink || at.kind == ResolvedPath::kFdInfo) {
    return real.opendir(path);
  }
  const ErrnoKeeper keeper;
  const char* const tree_path = at.TreePath();
  if (at.kind == ResolvedPath::kRealFirst && !at.ancestor) {
    DIR* beside = real.opendir(at.logical);
    if (beside != nullptr || errno != ENOENT) return beside;
  }
  DIR* const tree = tree_path != nullptr ? real.opendir(tree_path) : nullptr;
  const int tree_errno = tree_path != nullptr ? errno : ENOENT;
  if (tree == nullptr && at.kind == ResolvedPath::kTreeFirst && tree_errno != ENOENT) return nullptr;
  DIR* const beside = real.opendir(at.logical);
  if (tree == nullptr) {
    if (beside != nullptr) keeper.Restore();
    return beside;
  }
  keeper.Restore();
  return Enlist(beside != nullptr ? beside : tree, tree, beside);
}

DIR* Fdopendir(int fd) {
  if (IsVirtual(fd)) {
    errno = ENOTDIR;
    return nullptr;
  }
  char path[PATH_MAX];
  bool in_tree = false;
  ResolvedPath at;
  if (!LogicalFolder(fd, path, &in_tree) || !ResolvePath(AT_FDCWD, path, &at)) return real.fdopendir(fd);
  DIR* const given = real.fdopendir(fd);
  if (given == nullptr) return nullptr;
  const ErrnoKeeper keeper;
  const char* const tree_path = at.TreePath();
  DIR* const other = in_tree ? real.opendir(at.logical) : (tree_path != nullptr ? real.opendir(tree_path) : nullptr);
  keeper.Restore();
  if (in_tree) return Enlist(given, given, other);
  return other != nullptr ? Enlist(given, other, given) : given;
}

struct dirent* Readdir(DIR* stream) {
  Listing* listing = Find(stream);
  return listing != nullptr ? NextOf(*listing) : real.readdir(stream);
}

int ReaddirR(DIR* stream, struct dirent* entry, struct dirent** result) {
  Listing* listing = Find(stream);
  if (listing == nullptr) return real.readdir_r(stream, entry, result);
  const ErrnoKeeper keeper;
  errno = 0;
  const struct dirent* next = NextOf(*listing);
  const int error = next == nullptr ? errno : 0;
  keeper.Restore();
  *result = nullptr;
  if (next == nullptr) return error;
  memcpy(entry, next, next->d_reclen < sizeof(*entry) ? next->d_reclen : sizeof(*entry));
  *result = entry;
  return 0;
}

int Closedir(DIR* stream) {
  if (stream != nullptr) ClearFd(dirfd(stream));
  DIR* other = nullptr;
  if (listing_count.load(std::memory_order_acquire) != 0) {
    const LockGuard lock(listings_lock);
    for (Listing** at = &listings; *at != nullptr; at = &(*at)->next) {
      if ((*at)->key != stream) continue;
      Listing* found = *at;
      *at = found->next;
      other = found->key == found->tree ? found->beside : found->tree;
      free(found->entries);
      free(found);
      listing_count.fetch_sub(1, std::memory_order_release);
      break;
    }
  }
  if (other != nullptr) (void)real.closedir(other);
  return real.closedir(stream);
}

void Rewinddir(DIR* stream) {
  Listing* listing = Find(stream);
  if (listing == nullptr) return real.rewinddir(stream);
  Rewind(*listing);
}

void Seekdir(DIR* stream, long position) {
  Listing* listing = Find(stream);
  if (listing == nullptr) return real.seekdir(stream, position);
  Rewind(*listing);
  while (listing->position < position && NextOf(*listing) != nullptr) {
  }
}

long Telldir(DIR* stream) {
  const Listing* listing = Find(stream);
  return listing != nullptr ? listing->position : real.telldir(stream);
}

// scandir() over our own streams; libc's would read the folder behind our back.
int ScandirAt(int dir, const char* path, struct dirent*** out, DirFilter filter, DirCompare compare) {
  if (!PathMatters(dir, path)) return real.scandirat(dir, path, out, filter, compare);
  const int fd = OpenAt(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return -1;
  DIR* const stream = KindOf(fd) == kFdOverlay ? Fdopendir(fd) : real.fdopendir(fd);
  if (stream == nullptr) {
    const ErrnoKeeper keeper;
    (void)Close(fd);
    keeper.Restore();
    return -1;
  }
  const ErrnoKeeper keeper;
  struct dirent** list = nullptr;
  size_t count = 0;
  size_t room = 0;
  int error = 0;
  errno = 0;
  while (const struct dirent* entry = Readdir(stream)) {
    if (filter != nullptr && filter(entry) == 0) continue;
    if (count == room) {
      room = room == 0 ? 32 : room * 2;
      // Not realloc(): this library's own calls of it would miss a malloc library that was preloaded before it.
      auto** grown = static_cast<struct dirent**>(malloc(room * sizeof(*list)));
      if (grown == nullptr) error = ENOMEM;
      if (grown != nullptr && count > 0) memcpy(grown, list, count * sizeof(*list));
      if (grown != nullptr) {
        free(list);
        list = grown;
      }
    }
    const size_t size = offsetof(struct dirent, d_name) + strlen(entry->d_name) + 1;
    auto* copy =
        error == 0 ? static_cast<struct dirent*>(malloc(size < entry->d_reclen ? entry->d_reclen : size)) : nullptr;
    if (copy == nullptr) {
      error = ENOMEM;
      break;
    }
    memcpy(copy, entry, size);
    list[count++] = copy;
    errno = 0;
  }
  if (error == 0) error = errno;
  (void)Closedir(stream);
  if (error != 0) {
    while (count > 0) free(list[--count]);
    free(list);
    errno = error;
    return -1;
  }
  if (compare != nullptr && count > 1) {
    qsort(list, count, sizeof(*list), reinterpret_cast<int (*)(const void*, const void*)>(compare));
  }
  *out = list;
  keeper.Restore();
  return static_cast<int>(count);
}

// ---- glob

namespace {

void* GlobOpendir(const char* path) { return PathMatters(AT_FDCWD, path) ? Opendir(path) : real.opendir(path); }
struct dirent* GlobReaddir(void* stream) {
  return Readdir(static_cast<DIR*>(stream));
}
void GlobClosedir(void* stream) { (void)Closedir(static_cast<DIR*>(stream)); }
int GlobStat(const char* path, struct stat* out) { return StatAt(AT_FDCWD, path, out, 0); }
int GlobLstat(const char* path, struct stat* out) { return StatAt(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW); }

}  // namespace

int Glob(const char* pattern, int flags, GlobError on_error, glob_t* out) {
  if ((flags & GLOB_ALTDIRFUNC) != 0 || !IsActive() || (pattern[0] == '/' && Machine() == nullptr)) {
    return real.glob(pattern, flags, on_error, out);
  }
  out->gl_opendir = GlobOpendir;
  out->gl_readdir = GlobReaddir;
  out->gl_closedir = GlobClosedir;
  out->gl_stat = GlobStat;
  out->gl_lstat = GlobLstat;
  const int result = real.glob(pattern, flags | GLOB_ALTDIRFUNC, on_error, out);
  out->gl_flags &= ~GLOB_ALTDIRFUNC;
  return result;
}

// ---- getdents64(), the function and the system call

namespace {

// Where a listing by descriptor is. The second folder is opened when the first has ended.
struct FdListing {
  int key;     // descriptor + 1; 0: a free place
  int second;  // the same folder on the other side; -1: none
};
constexpr int kMaxFdListings = 64;
Lock fd_listings_lock;
FdListing fd_listings[kMaxFdListings];  // fd_listings_lock
std::atomic<int> fd_listing_count{0};

int OpenOtherSide(int fd) {
  char path[PATH_MAX];
  bool in_tree = false;
  ResolvedPath at;
  if (!LogicalFolder(fd, path, &in_tree) || !ResolvePath(AT_FDCWD, path, &at)) return -1;
  const char* const tree_path = at.TreePath();
  const char* const place = in_tree ? at.logical : tree_path;
  if (place == nullptr) return -1;
  return real.openat(AT_FDCWD, place, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

// The second side of `fd`, opened if it was not. -1: there is none.
int SecondSide(int fd) {
  const LockGuard lock(fd_listings_lock);
  FdListing* free_place = nullptr;
  for (FdListing& listing : fd_listings) {
    if (listing.key == fd + 1) return listing.second;
    if (listing.key == 0 && free_place == nullptr) free_place = &listing;
  }
  if (free_place == nullptr) return -1;
  const int second = OpenOtherSide(fd);
  if (second >= 0) (void)SetFd(second, kFdPrivate, 0);
  *free_place = {fd + 1, second};
  fd_listing_count.fetch_add(1, std::memory_order_relaxed);
  return second;
}

bool IsInTree(int fd) {
  struct stat status;
  return real.fstat(fd, &status) == 0 && status.st_dev == TreeDevice();
}

// Mends the types of the tree's placeholders in a listing of `fd`, and leaves out what `first_side` (-1: none) has.
ssize_t Filter(int fd, char* buffer, ssize_t size, int first_side) {
  const bool in_tree = IsInTree(fd);
  ssize_t kept = 0;
  for (ssize_t at = 0; at < size;) {
    auto* entry = reinterpret_cast<struct dirent64*>(buffer + at);
    const unsigned short length = entry->d_reclen;
    if (in_tree) FixType(entry->d_ino, &entry->d_type);
    if (first_side < 0 || (!IsDots(entry->d_name) && !TreeHas(first_side, entry->d_name))) {
      memmove(buffer + kept, entry, length);
      kept += length;
    }
    at += length;
  }
  return kept;
}

}  // namespace

ssize_t Getdents64(int fd, void* buffer, size_t size) {
  if (IsVirtual(fd)) return Ret(-ENOTDIR);
  const ssize_t first = real.getdents64(fd, buffer, size);
  if (first < 0) return first;
  if (first > 0) return Filter(fd, static_cast<char*>(buffer), first, -1);
  const ErrnoKeeper keeper;
  const int second = SecondSide(fd);
  ssize_t result = 0;
  while (second >= 0) {
    result = real.getdents64(second, buffer, size);
    if (result <= 0) break;
    result = Filter(second, static_cast<char*>(buffer), result, fd);
    if (result > 0) break;
  }
  if (result >= 0) keeper.Restore();
  return result;
}

void ForgetListing(int fd) {
  if (fd_listing_count.load(std::memory_order_relaxed) == 0) return;
  const LockGuard lock(fd_listings_lock);
  for (FdListing& listing : fd_listings) {
    if (listing.key != fd + 1 && (listing.key == 0 || listing.second != fd)) continue;
    if (listing.second >= 0) {
      ClearFd(listing.second);
      (void)Raw(SYS_close, listing.second);
    }
    listing = {};
    fd_listing_count.fetch_sub(1, std::memory_order_relaxed);
  }
}

void ResetDirsInChild() {
  listings_lock.Reset();
  fd_listings_lock.Reset();
}

}  // namespace causeway::shim
