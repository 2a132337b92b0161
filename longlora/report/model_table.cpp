#include "longlora/report/model_table.h"

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"

namespace longlora::report {

void mark_best(Table& table, const std::vector<std::vector<double>>& values, Best which) {
  for (size_t column = 1; column < table.columns.size(); ++column) {
    std::vector<double> finite;
    for (const auto& row : values)
      if (std::isfinite(row[column - 1])) finite.push_back(row[column - 1]);
    if (finite.size() < 2) continue;
    const auto [low, high] = std::minmax_element(finite.begin(), finite.end());
    const double best = which == Best::kLowest ? *low : *high;
    for (size_t row = 0; row < values.size() && *low != *high; ++row)
      table.rows[row][column].is_best = values[row][column - 1] == best;
  }
}

Table model_table(const std::vector<std::string>& labels, const std::vector<int64_t>& lengths,
                  const std::function<double(size_t, int64_t)>& value_at, std::string (*format)(double),
                  Best which) {
  Table table;
  table.columns.push_back({"model", Align::kLeft});
  for (const int64_t length : lengths) table.columns.push_back({format_count(length)});
  std::vector<std::vector<double>> values;
  for (size_t row = 0; row < labels.size(); ++row) {
    table.rows.push_back({{labels[row]}});
    values.emplace_back();
    for (const int64_t length : lengths) {
      values.back().push_back(value_at(row, length));
      table.rows.back().push_back({format(values.back().back())});
    }
  }
  mark_best(table, values, which);
  return table;
}

}  // namespace longlora::report
