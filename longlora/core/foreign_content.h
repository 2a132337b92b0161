// Recognises files that are not what their name says, and tells the way out.
#pragma once

#include <string>
#include <string_view>

namespace longlora {

/// What the content of a file shows it to be that should hold weights, a tokenizer or a configuration: "a Git
/// LFS pointer; fetch the file itself with git lfs pull". The function recognises such pointers, pages and
/// short messages that servers send in place of a file, empty files, and files of other programs. It returns
/// an empty string for anything else.
std::string foreign_content(std::string_view content);

}  // namespace longlora
