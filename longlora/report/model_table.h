// Tables in which models are compared.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "longlora/report/table.h"

namespace longlora::report {

enum class Best { kLowest, kHighest };

/// Marks the best finite value of each column after the first, and all that equal it, where there is
/// something to compare and not all values are equal. `values` has a row for each row of the table.
void mark_best(Table& table, const std::vector<std::vector<double>>& values, Best which);

/// A table of models × lengths, whose best values are marked. `value_at` gives the value of a row at a
/// length, or NaN where there is none.
Table model_table(const std::vector<std::string>& labels, const std::vector<int64_t>& lengths,
                  const std::function<double(size_t, int64_t)>& value_at, std::string (*format)(double),
                  Best which);

/// The names of models or files, in their order.
template <typename Model>
std::vector<std::string> labels_of(const std::vector<Model>& models) {
  std::vector<std::string> labels;
  labels.reserve(models.size());
  for (const Model& model : models) labels.push_back(model.label);
  return labels;
}

}  // namespace longlora::report
