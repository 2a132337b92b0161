// Which places may be written: never one that is, holds or lies inside what a command reads.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace longlora {

/// A path and the flag that named it: {"--base_model", "Llama-2-7b"}. An empty path is none.
struct NamedPath {
  std::string flag;
  std::filesystem::path path;
};

/// Where a path leads, looked up without a change on the disk: the real path of what exists of it, and the
/// names behind that.
struct ResolvedPath {
  std::filesystem::path existing;  // absolute, no link in it
  std::filesystem::path missing;   // relative; empty where the whole path exists
  std::filesystem::path whole() const { return missing.empty() ? existing : existing / missing; }
};

/// Follows links, ".", ".." and a trailing slash. Throws UsageError, which names the flag, for a link that
/// leads nowhere or in a circle, for ".." behind a folder that does not exist, and where a folder on the way
/// may not be looked into.
ResolvedPath resolve_output(const NamedPath& output);

/// Throws UsageError where the folder `output`, which need not exist yet, is one of the inputs, holds one or
/// lies inside one. Files and folders are compared by what they are on the disk, not by their spelling:
/// links, relative paths and mounts that show a folder twice do not hide it. Of an input folder whose files
/// are links (a download cache) the files that they lead to count as well.
void require_apart(const NamedPath& output, const std::vector<NamedPath>& inputs);

/// Makes sure before any work that a result can be written to the file `output`: makes its folder, and
/// creates and removes a file there. Throws UsageError where it is one of the input files, or stands in an
/// input folder and was not written by this program as such a result; ResourceError where it cannot be
/// written. Does nothing for an empty path; devices and pipes are not opened.
void prepare_output_file(const NamedPath& output, const std::vector<NamedPath>& inputs);

}  // namespace longlora
