#!/usr/bin/env bash
# The archive of scripts/package.sh: made again it is the same to the byte, and it runs in bare Debian 12 and 13.
set -euo pipefail
# shellcheck source=tests/release/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

archive=$(packaged 'linux-x86_64.tar.zst')
wheel=$(packaged '*.whl')
name=$(basename "$archive" .tar.zst)
make_scratch

same_bytes() {
  (
    umask 077
    TZ=Asia/Tokyo LC_ALL=C.UTF-8 "$REPO/scripts/package.sh" --no-build --output "$scratch/again"
  ) || return 1
  cmp "$archive" "$scratch/again/$(basename "$archive")" && cmp "$wheel" "$scratch/again/$(basename "$wheel")" || return 1
  rm -r "$scratch/again"
}

# Unpacked in the middle of nowhere, in a folder whose name a careless script would split.
runs_in() {
  local root="$scratch/$1" place="/opt/any where/$name" said
  make_root "$1"
  cp -a "$ROOTS/$1" "$root"
  mkdir -p "$root/opt/any where" "$root/try"
  tar --zstd --extract --directory "$root/opt/any where" --file "$archive"
  cp "$REPO/tests/release/quickstart_verbs.sh" "$root/try/"
  said=$(in_root "$root" sh -c 'cd /try && sh ./quickstart_verbs.sh "$@" 2>&1' sh "$place/bin/longlora" \
    "$place/share/longlora/models/tiny-novels") || die "[archive] expected the verbs to run in $1, got: $said"
  echo "$said"
  expect "pictures are left out" "$said"
  expect "apt-get install gnuplot-nox" "$said"
  rm -rf "$root"
}

names=$(tar --zstd --list --file "$archive")
for package in torch nvidia_cuda_runtime nvidia_cuda_cupti libicu libsentencepiece libssl libpcre2 zlib libzstd libfmt; do
  grep -q "^$name/share/doc/longlora/licenses/${package}[^/]*/." <<<"$names" ||
    die "[archive] expected the licence of $package in $archive, found none"
done
same_bytes || die "[archive] expected the same bytes when it is made again, got others"
runs_in bookworm
runs_in trixie
