#!/usr/bin/env bash
# Checks that a room of longlora/ includes and links only itself and the rooms
# before it in LONGLORA_ROOMS (CMakeLists.txt), and that it links exactly the
# rooms that it includes.
#
#   scripts/check_rooms.sh [TREE]       TREE is the clone by default
#   scripts/check_rooms.sh --self-test  that a bad include is found
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# check TREE: prints "FILE:LINE: ..." for every include or link that points the wrong way.
check() {
  local tree=$1 rooms
  rooms=$(sed -n 's/^set(LONGLORA_ROOMS \(.*\))$/\1/p' "$tree/CMakeLists.txt")
  [[ -n $rooms ]] || die "[rooms] expected 'set(LONGLORA_ROOMS ...)' on one line of $tree/CMakeLists.txt"
  # shellcheck disable=SC2016  # awk's variables
  (cd "$tree" && find longlora -type f \( -name '*.h' -o -name '*.cpp' -o -name CMakeLists.txt \) -print0 |
    sort -z | xargs -0 awk -v rooms="$rooms" '
      BEGIN { n = split(rooms, names, " "); for (i = 1; i <= n; i++) place[names[i]] = i }
      FNR == 1 {
        split(FILENAME, path, "/"); room = path[2]
        if (!(room in place)) complain("lies in a room that LONGLORA_ROOMS does not name")
      }
      /^[ \t]*#/ && FILENAME ~ /CMakeLists/ { next }
      FILENAME ~ /CMakeLists/ {
        for (i = 1; i <= NF; i++)
          if (match($i, /^longlora_[a-z]+\)?$/)) {
            name = $i; sub(/^longlora_/, "", name); sub(/\)$/, "", name)
            if (name in place) look(name, "links")
          }
      }
      match($0, /^[ \t]*#[ \t]*include[ \t]+["<]longlora\/[^\/]+\//) {
        name = substr($0, RSTART, RLENGTH); sub(/.*longlora\//, "", name); sub(/\/$/, "", name)
        look(name, "includes")
      }
      function look(name, verb) {
        if (!(name in place)) complain(verb " " name ", which LONGLORA_ROOMS does not name")
        else if (room in place && room != name) seen[verb, room, name] = FILENAME ":" FNR
        if (name in place && room in place && place[name] > place[room])
          complain("room " room " " verb " " name ", which comes after it in LONGLORA_ROOMS")
      }
      function complain(text) { print FILENAME ":" FNR ": " text; bad = 1 }
      END {
        for (a = 1; a <= n; a++)
          for (b = 1; b < a; b++) {
            included = seen["includes", names[a], names[b]]; linked = seen["links", names[a], names[b]]
            if (included && !linked) complain_at(included, "room " names[a] " includes " names[b] ", which its LINK does not name")
            if (linked && !included) complain_at(linked, "room " names[a] " links " names[b] ", which it does not include")
          }
        exit bad
      }
      function complain_at(place, text) { print place ": " text; bad = 1 }')
}

# A tree with a room "low" before "high"; both include and link what they may.
self_test() {
  local scratch tree
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064  # this folder, now
  trap "rm -rf '$scratch'" EXIT
  tree=$scratch/good
  mkdir -p "$tree/longlora/low" "$tree/longlora/high"
  echo 'set(LONGLORA_ROOMS low high)' >"$tree/CMakeLists.txt"
  echo '#include "longlora/low/b.h"' | tee "$tree/longlora/low/a.cpp" >"$tree/longlora/high/a.cpp"
  echo 'longlora_room(high SOURCES a.cpp LINK longlora_low)' >"$tree/longlora/high/CMakeLists.txt"
  check "$tree" || die "[rooms] a good tree was refused"

  expect_complaint "$tree" longlora/low/a.cpp '#include "longlora/high/a.h"' 'room low includes high'
  expect_complaint "$tree" longlora/low/CMakeLists.txt 'longlora_room(low LINK longlora_high)' 'room low links high'
  expect_complaint "$tree" longlora/high/a.cpp '#include "longlora/attic/a.h"' 'includes attic'

  sed -i 's/ LINK longlora_low//' "$tree/longlora/high/CMakeLists.txt"
  expect_complaint "$tree" longlora/high/a.cpp '' 'high includes low, which its LINK does not name'
  echo 'longlora_room(high SOURCES a.cpp LINK longlora_low)' >"$tree/longlora/high/CMakeLists.txt"
  echo >"$tree/longlora/high/a.cpp"
  expect_complaint "$tree" longlora/high/a.cpp '' 'high links low, which it does not include'
  echo "bad includes, bad links, unknown rooms and links that do not match includes are found"
}

# expect_complaint TREE FILE LINE TEXT: with LINE added to FILE, check fails and says TEXT.
expect_complaint() {
  local found bad=${1%/*}/bad
  rm -rf "$bad"
  cp -r "$1" "$bad"
  echo "$3" >>"$bad/$2"
  if found=$(check "$bad"); then die "[rooms] '$3' in $2 was not found"; fi
  [[ $found == *"$4"* ]] || die "[rooms] expected a complaint '$4', got: $found"
}

if [[ ${1:-} == --self-test ]]; then
  self_test
else
  check "${1:-$REPO}"
  echo "includes and links follow the order of the rooms and match each other"
fi
