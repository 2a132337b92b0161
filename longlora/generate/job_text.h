// The text of a job: its prompt and what was picked after it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "longlora/generate/generator.h"
#include "longlora/generate/sampler.h"
#include "longlora/model/decoder.h"

namespace longlora::generate {

/// Throws what Generator::submit() says of a job.
void check_job(const model::Decoder& decoder, const Job& job, int64_t context_size);

class JobText {
 public:
  /// `job` must outlive this object.
  explicit JobText(const Job& job);

  /// Prompt and text.
  std::span<const int64_t> ids() const { return ids_; }
  int64_t num_written() const;

  /// What was written, and why the text ends with it. An id that ends the text is not written.
  struct Next {
    std::optional<Wrote> wrote;
    std::optional<StopReason> reason;
  };
  /// Picks the next token from logits [V].
  Next write(const at::Tensor& logits, int64_t context_size);

 private:
  Wrote describe(const at::Tensor& logits, int64_t id) const;

  const Job& job_;
  std::vector<int64_t> ids_;
  PickToken pick_;
};

}  // namespace longlora::generate
