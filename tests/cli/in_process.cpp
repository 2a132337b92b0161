#include "tests/cli/in_process.h"

#include <CLI/CLI.hpp>

#include "longlora/cli/verbs.h"

namespace longlora::test {

void run(const Words& words) {
  CLI::App app;
  app.require_subcommand(1);
  cli::add_verbs(app);
  cli::parse(app, words);
}

}  // namespace longlora::test
