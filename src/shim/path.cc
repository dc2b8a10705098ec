// SPDX-License-Identifier: Apache-2.0
#include "shim/path.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "shim/real.h"

namespace causeway::shim {

std::atomic<bool> cwd_matters{false};

char* AppendText(char* at, const char* text) {
  while (*text != '\0') *at++ = *text++;
  *at = '\0';
  return at;
}

char* AppendNumber(char* at, uint64_t value) {
  char digits[20];
  int count = 0;
  do {
    digits[count++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (count > 0) *at++ = digits[--count];
  *at = '\0';
  return at;
}

namespace {

struct Claim {
  const char* text;
  uint32_t len;
  bool prefix;  // ended in '*', which `len` leaves out
};
Claim claims[ipc::kMaxClaims];
std::atomic<uint32_t> claim_count{0};

bool StartsWith(const char* path, const char* start, size_t len) { return strncmp(path, start, len) == 0; }

// The next component of an absolute path, or false at the end.
bool NextComponent(const char** at, const char** start, size_t* len) {
  while (**at == '/') ++*at;
  if (**at == '\0') return false;
  *start = *at;
  while (**at != '\0' && **at != '/') ++*at;
  *len = static_cast<size_t>(*at - *start);
  return true;
}

bool ParseNumber(const char* text, const char** end, int* value) {
  if (*text < '0' || *text > '9') return false;
  int64_t number = 0;
  while (*text >= '0' && *text <= '9' && number < kMaxFds) number = number * 10 + (*text++ - '0');
  *end = text;
  *value = static_cast<int>(number);
  return number < kMaxFds;
}

// "/proc/self/fd/N", "/proc/thread-self/fd/N", "/proc/<own pid>/fd/N", "/dev/fd/N", "/dev/stdin" and its kin, when N is
// a virtual file and the path ends there.
bool IsFdPath(const char* path, ResolvedPath::Kind* kind, int* fd) {
  const char* at = path;
  *kind = ResolvedPath::kFdLink;
  if (StartsWith(path, "/dev/", 5)) {
    at += 5;
    if (strcmp(at, "stdin") == 0) return *fd = 0, IsVirtual(0);
    if (strcmp(at, "stdout") == 0) return *fd = 1, IsVirtual(1);
    if (strcmp(at, "stderr") == 0) return *fd = 2, IsVirtual(2);
    if (!StartsWith(at, "fd/", 3)) return false;
    at += 3;
  } else if (StartsWith(path, "/proc/", 6)) {
    at += 6;
    int pid = 0;
    if (StartsWith(at, "self/", 5)) {
      at += 5;
    } else if (StartsWith(at, "thread-self/", 12)) {
      at += 12;
    } else if (!ParseNumber(at, &at, &pid) || *at != '/' || pid != static_cast<int>(Raw(SYS_getpid))) {
      return false;
    } else {
      ++at;
    }
    if (StartsWith(at, "fd/", 3)) {
      at += 3;
    } else if (StartsWith(at, "fdinfo/", 7)) {
      at += 7;
      *kind = ResolvedPath::kFdInfo;
    } else {
      return false;
    }
  } else {
    return false;
  }
  return ParseNumber(at, &at, fd) && *at == '\0' && IsVirtual(*fd);
}

// The folder that `path` (no "..") names, without symbolic links and as the program means it. False: there is none.
bool Canonical(char* path, size_t* len) {
  char tree[PATH_MAX + sizeof(ipc::ArenaHeader::tree_root)];
  char found[PATH_MAX];
  const ErrnoKeeper keeper;
  const bool tree_first = Machine() != nullptr && Classify(path) == Claimed::kYes;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const bool in_tree = (attempt == 0) == tree_first;
    const char* place = path;
    if (in_tree) {
      if (TreeRootLen() == 0 || TreeRootLen() + *len >= sizeof(tree)) continue;
      memcpy(tree, TreeRoot(), TreeRootLen());
      memcpy(tree + TreeRootLen(), path, *len + 1);
      place = tree;
    }
    if (real.realpath(place, found) != nullptr) {
      *len = StripTreeRoot(found, strlen(found));
      memcpy(path, found, *len + 1);
      keeper.Restore();
      return true;
    }
  }
  keeper.Restore();
  return false;
}

// Writes base + "/" + path with "//", "." and ".." resolved. A slash at the end is kept: it asks for a folder. False:
// too long, or ".." of what does not exist (the real call says what is wrong).
bool JoinPath(const char* base, const char* path, char (&out)[PATH_MAX]) {
  size_t len = strlen(base);
  if (len >= PATH_MAX) return false;
  memcpy(out, base, len + 1);
  while (len > 0 && out[len - 1] == '/') out[--len] = '\0';
  const char* at = path;
  const char* part = nullptr;
  size_t part_len = 0;
  bool slash_ends = false;
  while (NextComponent(&at, &part, &part_len)) {
    slash_ends = *at == '/';
    if (part_len == 1 && part[0] == '.') continue;
    if (part_len == 2 && part[0] == '.' && part[1] == '.') {
      if (len > 0 && !Canonical(out, &len)) return false;
      while (len > 0 && out[len - 1] != '/') --len;
      while (len > 0 && out[len - 1] == '/') --len;
      out[len] = '\0';
      continue;
    }
    if (len + 1 + part_len + 1 >= PATH_MAX) return false;
    out[len++] = '/';
    memcpy(out + len, part, part_len);
    len += part_len;
    out[len] = '\0';
  }
  if (len == 0 || slash_ends) {
    out[len++] = '/';
    out[len] = '\0';
  }
  return true;
}

}  // namespace

void UseClaims(const ipc::ArenaHeader& header) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < header.claim_count && i < ipc::kMaxClaims; ++i) {
    Claim claim = {header.claims[i], static_cast<uint32_t>(strnlen(header.claims[i], sizeof(header.claims[i]))), false};
    if (claim.len > 0 && claim.text[claim.len - 1] == '*') {
      claim.prefix = true;
      --claim.len;
    }
    if (claim.len > 0) claims[count++] = claim;
  }
  claim_count.store(count, std::memory_order_release);
}

Claimed Classify(const char* path) {
  if (path[0] == '/' && path[1] == '\0') return Claimed::kAncestor;
  Claimed best = Claimed::kNo;
  const uint32_t count = claim_count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < count; ++i) {
    const Claim& claim = claims[i];
    uint32_t at = 1;
    while (at < claim.len && path[at] == claim.text[at]) ++at;
    if (at == claim.len) {
      if (claim.prefix || path[at] == '\0' || path[at] == '/') return Claimed::kYes;
    } else if (claim.text[at] == '/' && (path[at] == '\0' || (path[at] == '/' && path[at + 1] == '\0'))) {
      best = Claimed::kAncestor;
    } else if (path[at] == '\0' && at > 0 && path[at - 1] == '/' && claim.text[at - 1] == '/') {
      best = Claimed::kAncestor;  // the same with a slash at the end
    }
  }
  return best;
}

bool HasClaim(const char* path) {
  const uint32_t count = claim_count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < count; ++i) {
    if (strncmp(claims[i].text, path, claims[i].len) == 0 && path[claims[i].len] == '\0') return true;
  }
  return false;
}

bool IsCleanPath(const char* path) {
  if (path[0] != '/') return false;
  for (const char* at = path; *at != '\0'; ++at) {
    if (*at != '/') continue;
    if (at[1] == '/') return false;
    if (at[1] == '.' && (at[2] == '\0' || at[2] == '/' || (at[2] == '.' && (at[3] == '\0' || at[3] == '/')))) {
      return false;
    }
  }
  return true;
}

void UpdateCwd() {
  char path[PATH_MAX];
  const long size = Raw(SYS_getcwd, path, sizeof(path));
  bool matters = false;
  if (size > 0) {
    const auto in = [&](const char* folder, size_t len) {
      return len != 0 && strncmp(path, folder, len) == 0 && (path[len] == '\0' || path[len] == '/');
    };
    matters = path[1] == '\0' || in("/dev", 4) || in("/sys", 4) || in("/proc", 5) ||
              in(MachineFolder(), strlen(MachineFolder())) || in(TreeRoot(), TreeRootLen());
  }
  cwd_matters.store(matters, std::memory_order_relaxed);
}

size_t StripTreeRoot(char* path, size_t len) {
  const size_t root = TreeRootLen();
  if (root == 0 || len < root || memcmp(path, TreeRoot(), root) != 0) return len;
  if (len == root) {
    path[0] = '/';
    path[1] = '\0';
    return 1;
  }
  if (path[root] != '/') return len;
  memmove(path, path + root, len - root);
  path[len - root] = '\0';
  return len - root;
}

bool LogicalFolder(int dir, char (&out)[PATH_MAX], bool* in_tree) {
  (void)Machine();  // the tree's root must be known
  long len = 0;
  if (dir == AT_FDCWD) {
    len = Raw(SYS_getcwd, out, sizeof(out)) - 1;
  } else {
    char link[64];
    (void)AppendNumber(AppendText(link, "/proc/self/fd/"), static_cast<uint64_t>(dir));
    len = Raw(SYS_readlink, link, out, sizeof(out) - 1);
  }
  if (len <= 0 || out[0] != '/') return false;
  out[len] = '\0';
  *in_tree = StripTreeRoot(out, static_cast<size_t>(len)) != static_cast<size_t>(len);
  return true;
}

const char* ResolvedPath::TreePath() {
  if (tree_made_) return buffer;
  const size_t root = TreeRootLen();
  const size_t len = strlen(logical);
  if (root == 0 || root + len >= sizeof(buffer)) return nullptr;
  // `logical` may lie in `buffer` behind room for the root.
  memmove(buffer + root, logical, len + 1);
  memcpy(buffer, TreeRoot(), root);
  logical = buffer + root;
  tree_made_ = true;
  return buffer;
}

bool ResolvePath(int dir, const char* path, ResolvedPath* out) {
  out->tree_made_ = false;
  out->fd = -1;
  out->ancestor = false;
  bool from_tree = false;  // relative to a folder of the tree: the real call would look there only
  if (IsCleanPath(path)) {
    out->logical = path;
  } else {
    char base[PATH_MAX];
    char joined[PATH_MAX];
    base[0] = '\0';
    if (path[0] == '\0') return false;
    if (path[0] != '/' && !LogicalFolder(dir, base, &from_tree)) return false;
    if (!JoinPath(base, path, joined)) return false;
    char* const place = out->buffer + sizeof(ipc::ArenaHeader::tree_root);
    (void)AppendText(place, joined);
    out->logical = place;
  }
  if (FdTableEnd() > 0 && IsFdPath(out->logical, &out->kind, &out->fd)) return true;
  const auto in = [&](const char* folder) {
    return StartsWith(out->logical, folder, 4) && (out->logical[4] == '/' || out->logical[4] == '\0');
  };
  if (!from_tree && out->logical[1] != '\0' && !in("/dev") && !in("/sys")) return false;
  if (Machine() == nullptr) return false;
  const Claimed claimed = Classify(out->logical);
  out->kind = claimed == Claimed::kYes ? ResolvedPath::kTreeFirst : ResolvedPath::kRealFirst;
  out->ancestor = claimed == Claimed::kAncestor;
  return true;
}

const ipc::NodeEntry* FindNode(uint64_t device, uint64_t inode) {
  const ipc::ArenaHeader* header = MachineIfConnected();
  if (header == nullptr || device != header->tree_device || inode == 0) return nullptr;
  uint32_t count = header->node_count.load(std::memory_order_acquire);
  if (count > ipc::kMaxNodes) count = ipc::kMaxNodes;
  for (uint32_t i = 0; i < count; ++i) {
    if (header->nodes[i].inode.load(std::memory_order_acquire) == inode) return &header->nodes[i];
  }
  return nullptr;
}

void FixStat(struct stat* status) {
  const ipc::NodeEntry* node = FindNode(status->st_dev, status->st_ino);
  if (node == nullptr) return;
  status->st_mode = node->mode;
  status->st_rdev = makedev(node->rdev_major, node->rdev_minor);
  status->st_size = node->kind == ipc::NodeEntry::kAttribute ? 4096 : 0;  // sysfs_add_file_mode_ns(): PAGE_SIZE
  status->st_blocks = 0;
}

void FixStatx(struct statx* status) {
  const ipc::NodeEntry* node = FindNode(makedev(status->stx_dev_major, status->stx_dev_minor), status->stx_ino);
  if (node == nullptr) return;
  status->stx_mode = static_cast<uint16_t>(node->mode);
  status->stx_rdev_major = node->rdev_major;
  status->stx_rdev_minor = node->rdev_minor;
  status->stx_size = node->kind == ipc::NodeEntry::kAttribute ? 4096 : 0;
  status->stx_blocks = 0;
}

}  // namespace causeway::shim
