// Files that are not what their name says: what came instead, and the way out.
#pragma once

#include <string>
#include <string_view>

namespace longlora {

/// What a file's content shows it to be where weights, a tokenizer or a configuration were expected: "a Git
/// LFS pointer; fetch the file itself with git lfs pull". Knows pointers, pages and short messages that
/// servers send instead of a file, empty files, and files of other programs. Empty for anything else.
std::string foreign_content(std::string_view content);

}  // namespace longlora
