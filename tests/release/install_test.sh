#!/usr/bin/env bash
# cmake --install: what is installed runs after the clone's build and libtorch are out of reach and it was moved itself.
set -euo pipefail
# shellcheck source=tests/release/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

((EUID == 0)) || skip "folders are put out of reach by mounting over them, which needs root"
make_scratch
cmake --install "$REPO/build/release" --prefix "$scratch/first place"
mv "$scratch/first place" "$scratch/second place"
prefix="$scratch/second place"
for file in share/doc/longlora/README.md share/doc/longlora/LICENSE share/doc/longlora/docs/installing.md \
  share/bash-completion/completions/longlora; do
  [[ -s $prefix/$file ]] || die "[install] expected $file below the prefix, found nothing"
done
bash -n "$prefix/share/bash-completion/completions/longlora"
compgen -G "$prefix/share/doc/longlora/licenses/torch-*/LICENSE" >/dev/null ||
  die "[install] expected torch's licence below the prefix, found none"
# An empty path between two colons or at an end would mean the current folder.
[[ $(readelf -d "$REPO/build/release/longlora") != *PATH*::* && $(readelf -d "$REPO/build/release/longlora") != *PATH*:]* ]] ||
  die "[install] expected no empty path where the build looks for libraries, got one"
run_path=$(readelf -d "$prefix/bin/longlora" | sed -n 's/.*R\(UN\)\?PATH.*\[\(.*\)\]/\2/p')
[[ $run_path == "\$ORIGIN/"* && $run_path != *:/* ]] ||
  die "[install] expected libraries to be found relative to the program alone, got $run_path"

mkdir "$scratch/try"
# shellcheck disable=SC2016  # expanded inside
unshare --mount -- bash -euc '
  mount -t tmpfs none "$1/build/release" && mount -t tmpfs none "$1/.deps"
  cd "$2/try" && sh "$1/tests/release/quickstart_verbs.sh" "$3/bin/longlora" "$3/share/longlora/models/tiny-novels"
' bash "$REPO" "$scratch" "$prefix"
