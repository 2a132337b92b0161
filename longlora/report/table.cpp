#include "longlora/report/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/format.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

const Cell& cell_at(const std::vector<Cell>& row, size_t column) {
  static const Cell empty;
  return column < row.size() ? row[column] : empty;
}

bool any_best(const Table& table, size_t column) {
  return std::any_of(table.rows.begin(), table.rows.end(),
                     [&](const auto& row) { return cell_at(row, column).is_best; });
}

std::string padded(const std::string& text, int width, Align align) {
  const std::string spaces(static_cast<size_t>(std::max(0, width - display_width(text))), ' ');
  return align == Align::kRight ? spaces + text : text + spaces;
}

// One line of text; `texts` has one entry for each column.
std::string text_line(const Table& table, const std::vector<std::string>& texts,
                      const std::vector<int>& widths) {
  std::string line;
  for (size_t column = 0; column < texts.size(); ++column)
    line += (column == 0 ? "" : "  ") + padded(texts[column], widths[column], table.columns[column].align);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

// A cell as plain text. In a column with a best cell the others get a space in place of the star, so that the
// figures stay aligned.
std::string plain_cell(const Cell& cell, bool column_has_best) {
  return column_has_best ? cell.text + (cell.is_best ? "*" : " ") : cell.text;
}

}  // namespace

std::string to_text(const Table& table) {
  const size_t num_columns = table.columns.size();
  std::vector<std::vector<std::string>> lines(table.rows.size() + 1);
  std::vector<int> widths(num_columns, 0);
  for (size_t column = 0; column < num_columns; ++column) {
    const bool has_best = any_best(table, column);
    lines[0].push_back(plain_cell({table.columns[column].heading}, has_best));
    for (size_t row = 0; row < table.rows.size(); ++row)
      lines[row + 1].push_back(plain_cell(cell_at(table.rows[row], column), has_best));
    for (const auto& line : lines) widths[column] = std::max(widths[column], display_width(line[column]));
  }
  std::vector<std::string> rule;
  rule.reserve(widths.size());
  for (const int width : widths) rule.emplace_back(static_cast<size_t>(width), '-');
  std::string out = text_line(table, lines[0], widths) + text_line(table, rule, widths);
  for (size_t row = 1; row < lines.size(); ++row) out += text_line(table, lines[row], widths);
  return out;
}

std::string to_html(const Table& table) {
  const auto alignment = [&](size_t column) {
    return table.columns[column].align == Align::kRight ? " class=\"number\"" : "";
  };
  std::string out = "<table>\n<thead><tr>";
  for (size_t column = 0; column < table.columns.size(); ++column) {
    out += fmt::format("<th scope=\"col\"{}>{}</th>", alignment(column),
                       escape_html(table.columns[column].heading));
  }
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (size_t column = 0; column < table.columns.size(); ++column) {
      const Cell& cell = cell_at(row, column);
      const std::string text = escape_html(cell.text);
      const std::string shown = cell.is_best ? fmt::format("<strong>{}</strong>", text) : text;
      out += column == 0 ? fmt::format("<th scope=\"row\"{}>{}</th>", alignment(column), shown)
                         : fmt::format("<td{}>{}</td>", alignment(column), shown);
    }
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table>\n";
}

}  // namespace longlora::report
