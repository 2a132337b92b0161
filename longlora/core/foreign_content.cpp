#include "longlora/core/foreign_content.h"

#include <algorithm>
#include <cctype>

namespace longlora {
namespace {

struct Start {
  std::string_view begins;
  const char* what;
};

// What the first bytes of a binary file tell.
constexpr Start kBinary[] = {
    {"GGUF", "a GGUF file of llama.cpp, which is read as a model alone"},
    {"lmgg", "a GGML file of llama.cpp; use the Hugging Face checkpoint that it was made from"},
    {"tjgg", "a GGML file of llama.cpp; use the Hugging Face checkpoint that it was made from"},
    {"\x89HDF", "an HDF5 file (TensorFlow); use the checkpoint in safetensors or PyTorch's format"},
    {"\x93NUMPY", "a NumPy array; save a state dict as safetensors or with torch.save"},
    {"\x1f\x8b", "a gzip archive; unpack it first"},
    {"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it first"},
    {"\xfd"
     "7zXZ",
     "an xz archive; unpack it first"},
    {"7z\xbc\xaf", "a 7-Zip archive; unpack it first"},
    {"Rar!", "a RAR archive; unpack it first"},
};

// What the beginning of a text tells. It is compared in lower case, without what may stand before it.
constexpr Start kText[] = {
    {"version https://git-lfs", "a Git LFS pointer; fetch the file itself with git lfs pull"},
    {"<!doctype html", "an HTML page, not the file; fetch it again, where needed after logging in"},
    {"<html", "an HTML page, not the file; fetch it again, where needed after logging in"},
    {"<head", "an HTML page, not the file; fetch it again, where needed after logging in"},
    {"<?xml", "an XML message of a server, not the file; fetch it again"},
    {"<error", "an XML message of a server, not the file; fetch it again"},
};

// The beginning of a text in lower case, without a byte order mark and white space before it.
std::string text_start(std::string_view content) {
  constexpr size_t kLooked = 512;
  std::string text(content.substr(0, kLooked));
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  text.erase(0, std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Whether the content is short plain text with words that a server says in place of a file ("Entry not
// found").
bool is_message(std::string_view content) {
  constexpr size_t kLongest = 300;
  if (content.size() > kLongest || content.starts_with('{') || content.starts_with('[')) return false;
  const std::string text = text_start(content);
  const bool is_text = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c >= 0x20 ? c < 0x7f : c == '\n' || c == '\r' || c == '\t';
  });
  constexpr std::string_view kWords[] = {"not found",        "denied",    "restricted", "unauthorized",
                                         "invalid username", "forbidden", "rate limit", "too many requests",
                                         "gated repo"};
  return is_text && std::any_of(std::begin(kWords), std::end(kWords), [&](std::string_view words) {
           return text.find(words) != std::string::npos;
         });
}

}  // namespace

std::string foreign_content(std::string_view content) {
  if (content.empty()) return "an empty file; fetch it again";
  for (const Start& start : kBinary)
    if (content.starts_with(start.begins)) return start.what;
  const std::string text = text_start(content);
  if (text.empty() && content.size() < 64) return "nothing but white space; fetch it again";
  for (const Start& start : kText)
    if (text.starts_with(start.begins)) return start.what;
  if (!is_message(content)) return "";
  std::string message(content.substr(0, 80));
  std::replace_if(
      message.begin(), message.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  return "the text \"" + message + "\", not the file; fetch it again";
}

}  // namespace longlora
