// SPDX-License-Identifier: Apache-2.0
#include "kernel/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/unique_fd.h"
#include "kernel/attribute_file.h"

namespace causeway::kernel {
namespace {

// mkdir -p of the folder that holds `real`; the tree's root exists.
Status MakeParents(const std::string& root, const std::string& real) {
  for (size_t slash = real.find('/', root.size() + 1); slash != std::string::npos; slash = real.find('/', slash + 1)) {
    if (::mkdir(real.substr(0, slash).c_str(), 0755) != 0 && errno != EEXIST) return HostErr();
  }
  return {};
}

// Runs `make`, which answers as a system call does; once more after making the parents if they were missing.
template <typename Make>
Status WithParents(const std::string& root, const std::string& real, Make make) {
  if (make() >= 0) return {};
  if (errno != ENOENT) return HostErr();
  CW_CHECK(MakeParents(root, real));
  if (make() < 0) return HostErr();
  return {};
}

Status WriteAll(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0) return HostErr();
    content.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Status RemoveRecursively(int parent, const char* name) {
  if (::unlinkat(parent, name, 0) == 0) return {};
  if (errno != EISDIR && errno != EPERM) return HostErr();
  const int folder = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder < 0) return HostErr();
  DIR* stream = ::fdopendir(folder);
  if (stream == nullptr) {
    (void)::close(folder);
    return Err(ENOMEM);
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream)) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      names.emplace_back(entry->d_name);
  }
  Status first;
  for (const std::string& child : names) {
    if (const Status status = RemoveRecursively(folder, child.c_str()); !status && first) first = status;
  }
  (void)::closedir(stream);
  CW_CHECK(first);
  if (::unlinkat(parent, name, AT_REMOVEDIR) != 0) return HostErr();
  return {};
}

bool IsInside(const std::string& path, const std::string& folder) {
  return path == folder || (path.starts_with(folder) && path[folder.size()] == '/');
}

}  // namespace

Tree::Tree(std::string root, ipc::ArenaHeader& header) : root_(std::move(root)), header_(header) {
  CW_INVARIANT(root_.size() < sizeof(header_.tree_root));
  (void)::umask(022);  // of the machine's process: attributes are as readable as sysfs has them
  std::memcpy(header_.tree_root, root_.c_str(), root_.size() + 1);
  struct stat status;
  if (::stat(root_.c_str(), &status) == 0) header_.tree_device = status.st_dev;
}

Tree::~Tree() = default;

Status Tree::AddFolder(const std::string& path) {
  const std::string real = Real(path);
  return WithParents(root_, real, [&] { return ::mkdir(real.c_str(), 0755) == 0 || errno == EEXIST ? 0 : -1; });
}

Status Tree::AddFile(const std::string& path, std::string_view content, uint32_t mode) {
  const std::string real = Real(path);
  // A new file is written in place; an existing one is replaced by rename, so that a reader sees one text or the other.
  std::string written = real;
  UniqueFd fd;
  CW_CHECK(WithParents(root_, real, [&] {
    fd.Reset(::open(written.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 07777));
    if (!fd && errno == EEXIST) {
      written = real + ".new";
      (void)::unlink(written.c_str());  // left by a write that failed
      fd.Reset(::open(written.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 07777));
    }
    return fd.get();
  }));
  CW_CHECK(WriteAll(fd.get(), content));
  // Only what the creation mask may have taken away has to be given back.
  if ((mode & 07033) != 0 && ::fchmod(fd.get(), mode & 07777) != 0) return HostErr();
  if (written != real && ::rename(written.c_str(), real.c_str()) != 0) return HostErr();
  return {};
}

Status Tree::AddLink(const std::string& path, const std::string& target) {
  const std::string real = Real(path);
  return WithParents(root_, real, [&] { return ::symlink(target.c_str(), real.c_str()); });
}

Status Tree::AddAttribute(const std::string& path, uint32_t mode, ShowFn show, StoreFn store) {
  Node node;
  node.path = path;
  // sysfs_add_file_mode_ns(): what an attribute cannot do, its mode does not offer.
  node.mode = S_IFREG | (mode & (show ? 0777u : 0333u) & (store ? 0777u : 0555u));
  node.show = std::move(show);
  node.store = std::move(store);
  return AddPlaceholder(path, ipc::NodeEntry::kAttribute, std::move(node));
}

Status Tree::AddDevice(const std::string& path, uint32_t mode, uint32_t major, uint32_t minor, OpenFn open) {
  Node node;
  node.path = path;
  node.mode = S_IFCHR | (mode & 07777u);
  node.major = major;
  node.minor = minor;
  node.open = std::move(open);
  return AddPlaceholder(path, ipc::NodeEntry::kCharDevice, std::move(node));
}

Status Tree::AddPlaceholder(const std::string& path, ipc::NodeEntry::Kind kind, Node node) {
  CW_CHECK(AddFile(path, "", node.mode & 07777u));
  struct stat status;
  if (::stat(Real(path).c_str(), &status) != 0) return HostErr();
  const std::lock_guard lock(mutex_);
  const uint32_t used = header_.node_count.load(std::memory_order_relaxed);
  uint32_t index = 0;
  while (index < used && header_.nodes[index].inode.load(std::memory_order_relaxed) != 0) ++index;
  if (index == ipc::kMaxNodes) {
    (void)::unlink(Real(path).c_str());
    return Err(ENOSPC);
  }
  const uint32_t node_id = next_node_++;
  ipc::NodeEntry& entry = header_.nodes[index];
  entry.kind = kind;
  entry.mode = node.mode;
  entry.rdev_major = node.major;
  entry.rdev_minor = node.minor;
  entry.node_id = node_id;
  node.entry = index;
  nodes_.emplace(node_id, std::make_shared<Node>(std::move(node)));
  // Last, and release: a program that finds the inode sees the entry whole.
  entry.inode.store(status.st_ino, std::memory_order_release);
  if (index == used) header_.node_count.store(used + 1, std::memory_order_release);
  return {};
}

Status Tree::Remove(const std::string& path) {
  {
    const std::lock_guard lock(mutex_);
    for (auto it = nodes_.begin(); it != nodes_.end();) {
      if (IsInside(it->second->path, path)) {
        header_.nodes[it->second->entry].inode.store(0, std::memory_order_release);
        it = nodes_.erase(it);
      } else {
        ++it;
      }
    }
  }
  return RemoveRecursively(AT_FDCWD, Real(path).c_str());
}

Status Tree::Claim(const std::string& path) {
  const std::lock_guard lock(mutex_);
  for (uint32_t i = 0; i < header_.claim_count; ++i) {
    if (path == header_.claims[i]) return {};
  }
  if (header_.claim_count == ipc::kMaxClaims) return Err(ENOSPC);
  if (path.empty() || path.front() != '/' || path.back() == '/') return Err(EINVAL);
  if (path.size() >= sizeof(header_.claims[0])) return Err(ENAMETOOLONG);
  std::memcpy(header_.claims[header_.claim_count], path.c_str(), path.size() + 1);
  ++header_.claim_count;
  return {};
}

Result<Ref<File>> Tree::Open(Task& task, uint32_t node_id, uint32_t flags) {
  std::shared_ptr<Node> node;
  {
    const std::lock_guard lock(mutex_);
    const auto it = nodes_.find(node_id);
    if (it == nodes_.end()) return Err(ENOENT);
    node = it->second;
  }
  // The order of fs/namei.c do_open(): O_EXCL on what exists, O_DIRECTORY on what is no folder, then the file's own
  // open.
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) return Err(EEXIST);
  if ((flags & O_DIRECTORY) != 0) return Err(ENOTDIR);
  if (node->open) return node->open(task, flags);

  // fs/kernfs/file.c kernfs_fop_open(): the mode decides, for root too.
  const uint32_t access = flags & O_ACCMODE;
  if ((access == O_WRONLY || access == O_RDWR) && (node->mode & 0222) == 0) return Err(EACCES);
  if ((access == O_RDONLY || access == O_RDWR) && (node->mode & 0444) == 0) return Err(EACCES);
  struct stat status;
  const uint64_t inode = ::stat(Real(node->path).c_str(), &status) == 0 ? status.st_ino : 0;
  // Node is private to Tree; the file gets what it needs of it, and keeps it alive.
  return Ref<File>(MakeRef<AttributeFile>(
      AttributeFile::Attribute{node->path, node->mode, inode, [node] { return node->show ? node->show() : Err(EIO); },
                               [node](std::string_view text) -> Status {
                                 if (!node->store) return Err(EIO);
                                 return node->store(text);
                               }}));
}

Result<std::string> Tree::Show(uint32_t node_id) {
  std::shared_ptr<Node> node;
  {
    const std::lock_guard lock(mutex_);
    const auto it = nodes_.find(node_id);
    if (it == nodes_.end()) return Err(ENOENT);
    node = it->second;
  }
  if (node->open) return Err(EINVAL);
  if (!node->show) return Err(EIO);  // fs/sysfs/file.c sysfs_kf_seq_show() without a show operation
  return node->show();
}

}  // namespace causeway::kernel
