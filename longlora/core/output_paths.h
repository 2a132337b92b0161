// Says where results may be written: never to a path that a command reads, and to none that holds such a path
// or lies inside one.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace longlora {

/// A path and the flag that named it: {"--base_model", "Llama-2-7b"}. The path is empty where the flag was
/// not given.
struct NamedPath {
  std::string flag;
  std::filesystem::path path;
};

/// Where a path leads: the real path of the part of it that exists, and the names behind that. Nothing is
/// changed on the disk to find out.
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
/// links, relative paths and mounts that show a folder twice do not hide it. Where the files of an input
/// folder are links (as in a download cache), the files that they lead to count as inputs as well.
void require_apart(const NamedPath& output, const std::vector<NamedPath>& inputs);

/// Whether this program wrote the file as the result of a verb (--json), or as the description of token ids.
bool is_result_json(const std::filesystem::path& file);

/// A file that a command writes. An empty path is none.
struct OutputFile {
  std::string flag;
  std::filesystem::path path;
  /// Whether an existing file, which is not empty, is an earlier result of the same kind, which may go.
  std::function<bool(const std::filesystem::path&)> is_earlier_result = is_result_json;
};

/// Makes sure before any work that every file of a command can be written: makes its folder, and creates and
/// removes a file there. `folder` is the folder that the command writes as well, if any. Devices, pipes and
/// streams of this process (/dev/stdout) are neither opened nor looked into. Throws UsageError where a file
/// - is one of the inputs, or a file of an input folder that is no earlier result,
/// - exists and is no earlier result of its kind, or is a folder,
/// - is or lies beneath another output of the command, or has a name in `folder` that belongs to its result,
/// - is called "-";
/// ResourceError where it cannot be written.
void prepare_output_files(const std::vector<OutputFile>& files, const std::vector<NamedPath>& inputs,
                          const NamedPath& folder = {});

}  // namespace longlora
