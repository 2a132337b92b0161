// A table, once as data, and as aligned text, Markdown or HTML.
#pragma once

#include <string>
#include <vector>

namespace longlora::report {

enum class Align { kLeft, kRight };

struct Column {
  std::string heading;
  Align align = Align::kRight;
};

struct Cell {
  std::string text;
  bool is_best = false;  // stands out: bold in HTML and Markdown, a star in plain text
};

/// Text of headings and cells is plain: the renderers escape it.
struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // each as long as `columns`, or shorter (the rest is empty)
};

/// For terminals: columns aligned by display width, two spaces apart, a line
/// under the headings. Ends with a newline.
std::string to_text(const Table& table);

/// A GitHub-flavoured Markdown table. Ends with a newline.
std::string to_markdown(const Table& table);

/// A <table> element; the first column's cells are row headers.
std::string to_html(const Table& table);

}  // namespace longlora::report
