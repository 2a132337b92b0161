#include "tests/cli/in_process.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "longlora/cli/verbs.h"

namespace longlora::test {

void run(Words words) {
  CLI::App app;
  app.require_subcommand(1);
  cli::add_verbs(app);
  std::reverse(words.begin(), words.end());
  app.parse(words);
}

}  // namespace longlora::test
