#include "longlora/report/plots.h"

#include <cmath>
#include <functional>
#include <set>

#include "longlora/report/plot_style.h"
#include "tests/results/samples.h"

namespace longlora::report {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

// Width and height of a PNG, from its header.
std::pair<int, int> size_of(const std::string& png) {
  EXPECT_EQ(png.compare(0, 8, "\x89PNG\r\n\x1a\n"), 0);
  const auto number = [&](size_t at) {
    int value = 0;
    for (size_t i = at; i < at + 4; ++i) value = value * 256 + static_cast<unsigned char>(png.at(i));
    return value;
  };
  return {number(16), number(20)};
}

TEST(Gnuplot, SaysWhatToInstallWhenItIsMissing) {
  EXPECT_THAT(error_of([] { Gnuplot gnuplot("/nowhere/gnuplot"); }),
              AllOf(HasSubstr("/nowhere/gnuplot"), HasSubstr("apt-get install gnuplot-nox")));
}

TEST(Gnuplot, RefusesAProgramThatIsNotGnuplot) {
  EXPECT_THAT(error_of([] { Gnuplot gnuplot("true"); }), HasSubstr("gnuplot-nox"));
}

TEST(Gnuplot, PassesItsOwnWordsOn) {
  const Gnuplot gnuplot;
  EXPECT_THAT(gnuplot.version(), HasSubstr("gnuplot 5"));
  EXPECT_THAT(error_of([&] { gnuplot.draw("set terminal pngcairo\nplot nothing"); }),
              HasSubstr("undefined variable: nothing"));
}

TEST(Gnuplot, RefusesAPictureThatIsNotAPng) {
  const Gnuplot gnuplot;
  EXPECT_THAT(error_of([&] { gnuplot.draw("set terminal dumb\nplot x"); }),
              HasSubstr("expected gnuplot to draw a PNG"));
}

const char* const kHostileName = "'; system 'touch HACKED'; `touch HACKED` % \" {/:Bold x} @a\nplot 2 <漢>";

TEST(Plots, SurviveNamesThatLookLikeCommands) {
  const Gnuplot gnuplot;
  const std::vector<std::string> pictures = {
      plot_loss(gnuplot, {{kHostileName, 0, {{1, 2}, {2, 1}}, {{2, 1.5}}, {{1, 0}, {2, 1e-5}}}}),
      plot_perplexity(gnuplot, kHostileName,
                      {{kHostileName, 0, {{512, 40}, {1024, 39}}}, {"b", 1, {{512, 3}}}}),
      plot_passkey(gnuplot, {{kHostileName, {{"5 % 'x'", {1.0, 0.5, std::nullopt, 0.0, 0.2}, 0.5}}}}),
      plot_bars(gnuplot, {kHostileName,
                          kHostileName,
                          kHostileName,
                          {"50 %", "b"},
                          {{kHostileName, 0, {1, NAN}, {"1", ""}}},
                          0})};
  for (const std::string& picture : pictures) EXPECT_EQ(size_of(picture).first, 2 * kPlotWidth);
  EXPECT_FALSE(std::filesystem::exists("HACKED"));
}

TEST(Plots, DrawRunsWithASingleStepOrWithoutFiniteLoss) {
  const Gnuplot gnuplot;
  size_of(plot_loss(gnuplot, {{"one", 0, {{1, 2.5}}, {}, {}}}));
  size_of(plot_loss(gnuplot, {{"nan", 0, {{1, NAN}, {2, NAN}}, {}, {{1, NAN}}}}));
  size_of(plot_loss(gnuplot, {{"eval", 0, {}, {{5, 2.5}}, {}}}));
}

TEST(Plots, GiveManyModelsTheRoomTheyNeed) {
  const Gnuplot gnuplot;
  std::vector<ModelCurve> curves;
  std::vector<PasskeyPanel> panels;
  for (size_t model = 0; model < 11; ++model) {
    curves.push_back({"a model with a rather long name, number " + std::to_string(model), model, {}});
    for (int i = 0; i < 14; ++i)
      curves.back().points.push_back({std::pow(2.0, i), 10.0 + static_cast<double>(model)});
    panels.push_back({curves.back().name, {{"512", {1, 1, 1, 1, 1}, 1}}});
  }
  EXPECT_GT(size_of(plot_perplexity(gnuplot, "many", curves)).second,
            size_of(plot_perplexity(gnuplot, "one", {curves[0]})).second);
  EXPECT_GT(size_of(plot_passkey(gnuplot, panels)).second,
            size_of(plot_passkey(gnuplot, {panels[0]})).second);
}

TEST(Smooth, AveragesAroundEachPointAndSkipsWhatIsNotFinite) {
  const auto result = smooth({{1, 1}, {2, 4}, {3, NAN}, {4, 10}}, 3);
  ASSERT_EQ(result.size(), 4u);
  EXPECT_DOUBLE_EQ(result[0].y, 2.5);
  EXPECT_DOUBLE_EQ(result[1].y, 2.5);
  EXPECT_DOUBLE_EQ(result[2].y, 7.0);
  EXPECT_DOUBLE_EQ(result[3].y, 10.0);
  EXPECT_EQ(smoothing_window(3), 1);
  EXPECT_EQ(smoothing_window(300), 13);
}

TEST(PlotStyle, GivesEightModelsTheirOwnColors) {
  std::set<std::string> colors;
  std::set<std::pair<std::string, int>> looks;
  for (size_t model = 0; model < 16; ++model) {
    colors.insert(model_color(model));
    looks.insert({model_color(model), model_marker(model)});
  }
  EXPECT_EQ(colors.size(), 8u);
  EXPECT_EQ(looks.size(), 16u);
}

TEST(PlotStyle, ChoosesRoundTicksWithinTheAxis) {
  const Axis linear = make_axis({36.4, 47.0}, 3.0);
  EXPECT_FALSE(linear.is_logarithmic);
  EXPECT_THAT(linear.ticks, Each(AllOf(::testing::Ge(linear.low), ::testing::Le(linear.high))));
  const Axis logarithmic = make_axis({36.4, 1500.0}, 3.0);
  EXPECT_TRUE(logarithmic.is_logarithmic);
  EXPECT_THAT(logarithmic.ticks, ElementsAre(30, 50, 100, 200, 300, 500, 1000));
  EXPECT_LT(make_axis({5.0}, 3.0).low, 5.0);
}

}  // namespace
}  // namespace longlora::report
