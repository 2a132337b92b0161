// The result of `eval`: perplexity and next-token accuracy by the length of the context.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/json_fwd.h"
#include "longlora/results/evaluated_model.h"

namespace longlora::results {

/// What was found with windows of one length.
struct PerplexityPoint {
  int64_t seq_len = 0;      // the length of a window
  double loss = 0.0;        // the mean next-token loss in nats; NaN where it is not finite
  double perplexity = 0.0;  // exp(loss); NaN where it is not finite
  double accuracy =
      std::numeric_limits<double>::quiet_NaN();  // the accuracy of next tokens; NaN where it is not known
  int64_t num_windows = -1;                      // -1: not known
  int64_t num_tokens = -1;                       // how many tokens have a loss that counts; -1: not known
  std::vector<double> window_losses = {};        // the mean loss of each window, in order; may be missing

  template <typename Point, typename Fields>
  static void list_fields(Point& point, Fields& fields) {
    fields.required("seq_len", point.seq_len, 1);
    fields.required("val_loss", point.loss);
    fields.optional("val_perplexity", point.perplexity, std::exp(point.loss));
    fields.check(!(point.perplexity <= 0.0), "a positive number under \"val_perplexity\"", point.perplexity);
    fields.optional("val_acc", point.accuracy);
    fields.optional("windows", point.num_windows);
    fields.optional("tokens", point.num_tokens);
    fields.optional("window_losses", point.window_losses);
  }
};

struct Perplexity {
  static constexpr const char* kVerb = "eval";

  EvaluatedModel model = {};
  std::string data = {};    // the paths of the text, joined by ", "; empty: not known
  std::string window = {};  // "all", "last" or "same-targets"; empty: not known
  std::optional<int64_t> target_tokens =
      {};  // for "same-targets": how many tokens are scored at the end of each window
  std::vector<PerplexityPoint> points = {};

  template <typename Result, typename Fields>
  static void list_fields(Result& result, Fields& fields) {
    EvaluatedModel::list_fields(result.model, fields);
    fields.optional("data", result.data);
    fields.optional("window", result.window);
    fields.optional("target_tokens", result.target_tokens);
    fields.objects_or_one("results", result.points);
  }

  Json to_json() const;
  /// Reads a result, and sorts its points by their lengths. `where` names the file in errors. Throws
  /// InputError.
  static Perplexity from_json(const Json& json, const std::string& where);
};

}  // namespace longlora::results
