#!/usr/bin/env bash
# The Dockerfile without Docker: its instructions, one after the other, in bare Debian 12. The build in it takes as long
# as the first build of a clone; its compiler cache is kept.
set -euo pipefail
# shellcheck source=tests/release/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_root bookworm
make_scratch
network=() # that of this machine
stage='' folder=/
stages=()

# What tells a system its way to the package registries where that is not the usual one.
copy_network_settings() {
  local file
  for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /usr/local/share/ca-certificates/*.crt /etc/apt/apt.conf.d/*proxy*; do
    if [[ -f $file ]]; then mkdir -p "$1/${file%/*}" && cp -L "$file" "$1$file"; fi
  done
}

begin_stage() { # IMAGE [AS NAME]
  [[ $1 == debian:12-slim ]] || die "[dockerfile] expected FROM debian:12-slim, got $1"
  stage="$scratch/${3:-last}" folder=/
  stages+=("$stage")
  mapfile -t variables < <(env | grep -E '^(PIP_|[a-z]+_proxy=|[A-Z]+_PROXY=)' || true)
  cp -a "$ROOTS/bookworm" "$stage"
  copy_network_settings "$stage"
}

enter_folder() { # DIR
  folder=$1
  mkdir -p "$stage$folder"
}

copy_files() { # [--from=STAGE] FROM TO
  if [[ $1 == --from=* ]]; then
    mkdir -p "$stage$(dirname "$3")"
    cp -a "$scratch/${1#--from=}$2" "$stage$3"
  elif [[ "$1 $2" == '. .' ]]; then
    tar --create --directory "$REPO" --exclude-from=<(sed 's|^|./|' "$REPO/.dockerignore") . | tar --extract --directory "$stage$folder"
    mkdir -p "$ROOTS/ccache" "$stage$folder/.cache/ccache"
    cp -a "$ROOTS/ccache/." "$stage$folder/.cache/ccache/"
  else
    die "[dockerfile] expected COPY . . or COPY --from=STAGE FROM TO, got COPY $*"
  fi
}

run_command() { # COMMAND
  echo "RUN $1"
  # shellcheck disable=SC2016  # expanded inside
  in_root "$stage" sh -c 'cd "$1" && eval "$2"' sh "$folder" "$1" || die "[dockerfile] expected success of: $1"
  if [[ -d $stage$folder/.cache/ccache ]]; then cp -a "$stage$folder/.cache/ccache/." "$ROOTS/ccache/"; fi
}

instructions=$(sed -e ':line' -e '/\\$/{N;s/\\\n *//;bline' -e '}' -e '/^#/d' -e '/^$/d' "$REPO/Dockerfile")
entry=''
while read -r word rest <&3; do
  read -ra words <<<"$rest"
  case "$word" in
    FROM) begin_stage "${words[@]}" ;;
    WORKDIR) enter_folder "$rest" ;;
    COPY) copy_files "${words[@]}" ;;
    ENV) variables+=("$rest") ;;
    RUN) run_command "$rest" ;;
    ENTRYPOINT) entry=$(tr -d '[]"' <<<"$rest") ;;
    *) die "[dockerfile] expected an instruction that this try knows, got $word" ;;
  esac
done 3<<<"$instructions"

[[ $entry == longlora && ${#stages[@]} == 2 ]] || die "[dockerfile] expected two stages and the entry longlora, got '$entry'"
network=(--net)
cp "$REPO/tests/release/quickstart_verbs.sh" "$stage$folder/"
# shellcheck disable=SC2016  # expanded inside
said=$(in_root "$stage" sh -c 'cd "$1" && shift && sh quickstart_verbs.sh "$@" 2>&1' sh "$folder" "$entry" \
  /opt/longlora/share/longlora/models/tiny-novels) || die "[dockerfile] expected the verbs to run, got: $said"
echo "$said"
[[ $said != *"pictures are left out"* ]] || die "[dockerfile] expected pictures, for the image has gnuplot"
