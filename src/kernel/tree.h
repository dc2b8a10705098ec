// SPDX-License-Identifier: Apache-2.0
// The machine's part of the file system: /sys and /dev entries as programs see them. Plain attributes, folders and
// symbolic links are real files in a private folder (the shim redirects claimed paths there, so reading them costs what
// reading a file costs); device nodes and live attributes are placeholders whose open() comes to the machine.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ipc/arena.h"
#include "kernel/file.h"

namespace causeway::kernel {

class Tree {
 public:
  // Opens a device node. `flags` are open()'s.
  using OpenFn = std::function<Result<Ref<File>>(Task&, uint32_t flags)>;
  // sysfs show(): the text, newline included, or the errno read() fails with. store(): consumes the text.
  using ShowFn = std::function<Result<std::string>()>;
  using StoreFn = std::function<Status(std::string_view)>;

  // `root` is an existing empty folder; the arena's header receives root, claims and nodes.
  Tree(std::string root, ipc::ArenaHeader& header);
  ~Tree();

  // Paths are as programs see them ("/sys/class/infiniband"); missing parent folders are made.
  Status AddFolder(const std::string& path);
  Status AddFile(const std::string& path, std::string_view content, uint32_t mode = 0444);  // replaces an existing one
  Status AddLink(const std::string& path, const std::string& target);  // target as in sysfs: relative
  // A live attribute: show() runs at each read from offset 0. An empty StoreFn makes it read-only.
  Status AddAttribute(const std::string& path, uint32_t mode, ShowFn show, StoreFn store = {});
  Status AddDevice(const std::string& path, uint32_t mode, uint32_t major, uint32_t minor, OpenFn open);
  Status Remove(const std::string& path);  // file, link or whole folder

  // Says that the machine serves this path before the real one. A trailing '*' claims a prefix.
  Status Claim(const std::string& path);

  // Op::kOpen and Op::kAttribute.
  Result<Ref<File>> Open(Task& task, uint32_t node_id, uint32_t flags);
  Result<std::string> Show(uint32_t node_id);

  const std::string& root() const { return root_; }

 private:
  struct Node {
    std::string path;
    uint32_t major = 0, minor = 0;
    uint32_t mode = 0;
    OpenFn open;
    ShowFn show;
    StoreFn store;
    uint32_t entry = 0;  // index in the header's table
  };
  Status AddPlaceholder(const std::string& path, ipc::NodeEntry::Kind kind, Node node);
  std::string Real(const std::string& path) const { return root_ + path; }

  const std::string root_;
  ipc::ArenaHeader& header_;
  std::mutex mutex_;
  std::map<uint32_t, std::shared_ptr<Node>> nodes_;
  uint32_t next_node_ = 1;
};

}  // namespace causeway::kernel
