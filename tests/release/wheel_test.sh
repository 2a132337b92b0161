#!/usr/bin/env bash
# The Python wheel of scripts/package.sh, installed by pip with all that it depends on into a fresh environment.
set -euo pipefail
# shellcheck source=tests/release/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

wheel=$(packaged '*.whl')
make_scratch
python3 -m venv "$scratch/environment"
bin="$scratch/environment/bin"

# Without torch it says what to install.
"$bin/python" -m pip install --quiet --no-deps "$wheel"
if said=$("$bin/longlora" --version 2>&1); then die "[wheel] expected an error without torch, got: $said"; fi
expect "expected the package torch==" "$said"
expect "pip install torch==" "$said"

"$bin/python" -m pip install --quiet --no-cache-dir "$wheel"
"$bin/python" -m pip check
said=$("$bin/longlora" --version)
expect "longlora $version" "$said"
[[ $("$bin/python" -m longlora --version) == "$said" ]] || die "[wheel] expected python -m longlora to start the program"
mkdir "$scratch/try"
cd "$scratch/try"
# The clone's own libtorch is out of reach; root alone can mount over it.
if ((EUID == 0)); then
  # shellcheck disable=SC2016  # expanded inside
  unshare --mount -- bash -euc 'mount -t tmpfs none "$1/.deps" && sh "$1/tests/release/quickstart_verbs.sh" "$2" "$3"' \
    bash "$REPO" "$bin/longlora" "$REPO/models/tiny-novels"
else
  sh "$REPO/tests/release/quickstart_verbs.sh" "$bin/longlora" "$REPO/models/tiny-novels"
fi
