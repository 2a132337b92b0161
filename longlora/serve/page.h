// The page that a browser shows: its files are part of the program.
#pragma once

#include <span>
#include <string_view>

namespace longlora::serve {

/// One of the page's files. The texts live as long as the program.
struct PageFile {
  std::string_view name;  // relative to the page's own address: "page.css"
  std::string_view content;
};

/// All of them, "index.html" among them.
std::span<const PageFile> page_files();

/// The file of this name, where the empty name is that of the page itself, or null.
const PageFile* find_page_file(std::string_view name);

/// The media type to send with a file of this name, with its encoding.
std::string_view media_type(std::string_view name);

/// What the browser may do on the page, which is the value of Content-Security-Policy: nothing comes from
/// elsewhere or from within the text, and no text becomes HTML or a script.
extern const std::string_view kPagePolicy;

}  // namespace longlora::serve
