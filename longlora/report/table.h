// A table as data, and its forms as aligned text and as HTML.
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
  bool is_best = false;  // makes it stand out: bold in HTML, a star in plain text
};

/// A table. The text of its headings and cells is plain, and the renderers escape it.
struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // each as long as `columns`, or shorter, and then empty at its end
};

/// The table for terminals: columns are aligned by display width and two spaces apart, with a line under the
/// headings. Ends with a newline.
std::string to_text(const Table& table);

/// A <table> element, in which the cells of the first column are row headers.
std::string to_html(const Table& table);

}  // namespace longlora::report
