# Sourced by the scripts: where the clone lies, messages, steps with their time.
# shellcheck shell=bash

REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Whatever a tool would keep in the home directory stays in the clone.
export CCACHE_DIR="$REPO/.cache/ccache"

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# For scripts that have a function usage.
usage_error() {
  usage >&2
  printf '\nerror: [%s] %s\n' "$(basename "$0")" "$*" >&2
  exit 2
}

# duration SECONDS: "7s", "2m 05s".
duration() {
  if (($1 < 60)); then printf '%ds' "$1"; else printf '%dm %02ds' $(($1 / 60)) $(($1 % 60)); fi
}

# step TEXT COMMAND...: runs the command with its output in build/logs, prints
# one line with the time it took, and on failure the end of its output. On a
# terminal the last line of output is shown while it runs. The command must
# report its failures by its status: "set -e" does not reach into it.
step() {
  local text=$1 start=$SECONDS status=0 log progress=''
  shift
  mkdir -p "$REPO/build/logs"
  log="$REPO/build/logs/$(tr -cs 'a-z0-9\n' '-' <<<"${text,,}").log"
  : >"$log"
  if [[ -t 1 ]]; then
    show_progress "$text" "$log" &
    progress=$!
  fi
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [[ -n $progress ]]; then
    kill "$progress" 2>/dev/null
    wait "$progress" 2>/dev/null
    printf '\r\033[K'
  fi
  if ((status == 0)); then
    printf '%-44s ok      %s\n' "$text" "$(duration $((SECONDS - start)))"
  else
    printf '%-44s FAILED  %s\n' "$text" "$(duration $((SECONDS - start)))"
    tail -n 60 "$log" | sed 's/^/    /'
    printf '    (all of it: %s)\n' "${log#"$REPO"/}"
  fi
  return "$status"
}

# show_progress TEXT LOG: once a second rewrites one line with the time so far
# and the last line of the log, until it is killed or the script ends.
show_progress() {
  local start=$SECONDS last
  while kill -0 $$ 2>/dev/null; do
    last=$(tail -c 300 "$2" | tail -n 1 | tr -cd '[:print:]' | cut -c1-50)
    printf '\r\033[K%-44s %-7s %s' "$1" "$(duration $((SECONDS - start)))" "$last"
    sleep 1
  done
}

# How many compilers to run at once: the cores, but 1.5 GiB of memory for each.
build_jobs() {
  local cores memory_kib by_memory
  cores=$(nproc)
  memory_kib=$(awk '/MemAvailable/ {print $2}' /proc/meminfo)
  by_memory=$((memory_kib / 1572864))
  if ((by_memory < 1)); then by_memory=1; fi
  echo $((cores < by_memory ? cores : by_memory))
}

# build_preset PRESET TARGET...: configures build/PRESET and builds the targets.
build_preset() {
  local preset=$1 folder="$REPO/build/$1"
  shift
  # A clone that was moved: its build folder names the old place everywhere.
  if [[ -f $folder/CMakeCache.txt ]] && ! grep -qx "CMAKE_HOME_DIRECTORY:INTERNAL=$REPO" "$folder/CMakeCache.txt"; then
    rm -rf "$folder"
  fi
  step "Configure build/$preset" cmake -S "$REPO" --preset "$preset" || return 1
  step "Build build/$preset" cmake --build "$folder" --parallel "$(build_jobs)" --target "$@" || return 1
}
