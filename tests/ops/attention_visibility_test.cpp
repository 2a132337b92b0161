// Who sees whom: what a token must not see changes nothing in its result.
#include "longlora/ops/attention.h"
#include "longlora/ops/reference.h"
#include "tests/ops/attention_cases.h"

namespace longlora::ops {
namespace {

TEST(Attention, NoTokenSeesItsFuture) {
  const Case sizes = {1, 70, 16, 4, 2, 16};
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Inputs inputs = Inputs::random(sizes, 50, dtype);
    const auto check = [&](const char* name, const auto& attend) {
      SCOPED_TRACE(::testing::Message() << name << " " << c10::toString(dtype));
      const at::Tensor before = attend(inputs.q, inputs.k, inputs.v, sizes.plan());
      for (const int64_t token : {0, 1, 7, 8, 15, 16, 33, 69}) {
        Inputs changed = {inputs.q.clone(), inputs.k.clone(), inputs.v.clone(), {}};
        for (const at::Tensor& x : {changed.q, changed.k, changed.v}) x.select(0, token).add_(3.0);
        const at::Tensor after = attend(changed.q, changed.k, changed.v, sizes.plan());
        EXPECT_TRUE(at::equal(before.slice(0, 0, token), after.slice(0, 0, token))) << "token " << token;
        EXPECT_FALSE(at::equal(before.select(0, token), after.select(0, token))) << "token " << token;
      }
    };
    check("reference", reference::attention);
    for_each_path([&](const Path& path) { check(path.name, path.attend); }, inputs.q);
  }
}

TEST(Attention, NoTokenSeesWhatItsWindowHasLeftBehind) {
  const Case sizes = {1, 200, 0, 4, 2, 16, {}, 70};
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Inputs inputs = Inputs::random(sizes, 55, dtype);
    const auto check = [&](const char* name, const auto& attend) {
      SCOPED_TRACE(::testing::Message() << name << " " << c10::toString(dtype));
      const at::Tensor before = attend(inputs.q, inputs.k, inputs.v, sizes.plan());
      for (const int64_t token : {0, 1, 63, 64, 100, 129}) {
        Inputs changed = {inputs.q, inputs.k.clone(), inputs.v.clone(), {}};
        for (const at::Tensor& x : {changed.k, changed.v}) x.select(0, token).add_(3.0);
        const at::Tensor after = attend(changed.q, changed.k, changed.v, sizes.plan());
        EXPECT_TRUE(at::equal(before.slice(0, token + 70), after.slice(0, token + 70))) << "token " << token;
        EXPECT_FALSE(at::equal(before.select(0, token + 69), after.select(0, token + 69)))
            << "token " << token;
      }
    };
    check("reference", reference::attention);
    for_each_path([&](const Path& path) { check(path.name, path.attend); }, inputs.q);
  }
}

TEST(Attention, NoDocumentAndNoRowSeesAnother) {
  const Case sizes = {2, 40, 16, 4, 2, 16, {0, 18}};
  const std::vector<int64_t> starts = {0, 18, 40, 58, 80};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Inputs inputs = Inputs::random(sizes, 60, dtype);
    for_each_path(
        [&](const Path& path) {
          const at::Tensor before = path.attend(inputs.q, inputs.k, inputs.v, sizes.plan());
          for (size_t document = 0; document + 1 < starts.size(); ++document) {
            const int64_t first = starts[document], last = starts[document + 1];
            Inputs changed = {inputs.q.clone(), inputs.k.clone(), inputs.v.clone(), {}};
            for (const at::Tensor& x : {changed.q, changed.k, changed.v}) x.slice(0, first, last).mul_(-2.0);
            const at::Tensor after = path.attend(changed.q, changed.k, changed.v, sizes.plan());
            EXPECT_TRUE(at::equal(before.slice(0, 0, first), after.slice(0, 0, first)));
            EXPECT_TRUE(at::equal(before.slice(0, last), after.slice(0, last)));
          }
        },
        inputs.q);
  }
}

}  // namespace
}  // namespace longlora::ops
